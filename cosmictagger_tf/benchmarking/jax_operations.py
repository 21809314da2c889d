"""The floating-point operations of a function as JAX traces it."""

import math


def count(jaxpr) -> int:
    """Operations of the convolutions and matrix products of a jaxpr and of those inside it, each once.

    A multiplication and an addition count as two. A convolution of rows that zeros were put between (the gradient of a
    strided one) counts without the products with them.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        elif name == "conv_general_dilated":
            total += _of_convolution(equation)
        else:
            total += sum(count(inner) for inner in _inside(parameters))
    return total


def _inside(parameters):
    for value in parameters.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def _of_convolution(equation) -> int:
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    kernel, result = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    filters = kernel[numbers.rhs_spec[0]]
    between = math.prod(parameters["lhs_dilation"]) * math.prod(parameters["rhs_dilation"])
    return 2 * math.prod(result) * (math.prod(kernel) // filters) // between
