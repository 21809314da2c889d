"""A functional model in segments, each traced once for all of its kind, or computed again in the backward pass.

On TensorFlow a layer's operations are added to a graph, differentiated and set up one by one, which takes far longer
than they take to run on a small image. Most segments of a network are blocks, alike but for their weights: one function
that takes the weights serves them all.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator

import keras
from keras import ops, tree

from cosmictagger_tf.backend import graph_function, in_graph, value_of


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class SegmentedModel(keras.Model):
    """keras.Model(inputs, outputs): the same layers, weights, outputs and gradients. Segments alike share a function.

    Args:
        inputs, outputs: as in keras.Model; of several outputs each is computed from inputs and kept tensors.
        kept: tensors on the way, in the order of computation: what lies between them is a segment.

    Attributes:
        shares: whether segments share functions; set to False where layers that are alike do not do the same.
    """

    recomputes = False

    def __init__(self, inputs, outputs, kept, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        # The values handed around here are the variables' own; each layer casts for itself. (Functional models take no
        # dtype of their own when they are made.)
        self.dtype_policy = "float32"
        self.shares = True
        self._cut = _Cut(self, inputs, outputs, kept)

    def call(self, inputs, training=None, mask=None):
        again, share = bool(training) and self.recomputes, self.shares and in_graph()
        if not again and not share:
            return super().call(inputs, training=training, mask=mask)
        values = dict(zip(map(id, tree.flatten(self.input)), tree.flatten(inputs), strict=True))
        functions = self._cut.functions(bool(training)) if share else {}
        for segment in self._cut.segments:
            # The backward pass begins with the last one: to forget it would save nothing.
            last = segment is self._cut.segments[-1]
            given = [values[id(tensor)] for tensor in segment.inputs]
            results = segment.run(given, bool(training), functions.get(segment), again and not last)
            values |= dict(zip(map(id, segment.outputs), results, strict=True))
        return tree.map_structure(lambda tensor: values[id(tensor)], self.output)

    @contextlib.contextmanager
    def unshared(self) -> Iterator[None]:
        """Within it, all operations are those of the graph itself, to be counted."""
        shares, self.shares = self.shares, False
        try:
            yield
        finally:
            self.shares = shares

    def get_config(self):
        return {
            "model": keras.saving.serialize_keras_object(keras.Model(self.input, self.output)),
            "kept": self._cut.names,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        kept = [model.get_layer(name).output for name in config["kept"]]
        return cls(model.input, model.output, kept, name=config["name"])


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class RecomputingModel(SegmentedModel):
    """Keeps only `kept` for the backward pass, which computes the rest again (arXiv:1604.06174).

    What changes is when a training step holds which tensor. Variables that a pass updates (moving statistics) are
    updated once.
    """

    recomputes = True


class _Cut:
    """A model's segments and the functions that they share; no Keras object, so that no model tracks and saves them.

    Args:
        model: functional.
        inputs, outputs, kept: as in SegmentedModel.

    Attributes:
        segments: in the order of computation; the last one has the outputs.
        names: of the operations whose outputs are kept.
    """

    def __init__(self, model, inputs, outputs, kept):
        producer = {id(tensor): op for op in model.operations for tensor in tree.flatten(op.output)}
        # All that an operation gives is kept together, and once: else it would be computed, and move its statistics,
        # several times.
        operations = list({id(producer[id(tensor)]): producer[id(tensor)] for tensor in tree.flatten(kept)}.values())
        self.names = [operation.name for operation in operations]
        ends = {id(tensor) for tensor in tree.flatten(inputs)}
        self.segments: list[Segment] = []
        self._shared: dict[str, Pure] = {}
        for tensors in [*(tree.flatten(operation.output) for operation in operations), tree.flatten(outputs)]:
            self.segments.append(Segment(_needed(producer, tensors, ends), tensors))
            ends |= {id(tensor) for tensor in tensors}

    def functions(self, training: bool) -> dict:
        """For each segment that is not the only one of its signature: the function that they share."""
        signatures = {segment: segment.signature(training) for segment in self.segments if segment.variables}
        alike = Counter(signatures.values())
        return {
            segment: self._shared.setdefault(signature, Pure(segment, training, graph_function))
            for segment, signature in signatures.items()
            if alike[signature] > 1
        }


def _needed(producer, outputs, ends):
    """The tensors among `ends` that outputs are computed from."""
    needed, seen, waiting = {}, set(), list(outputs)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in ends:
            needed[id(tensor)] = tensor
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            waiting += tree.flatten(producer[id(tensor)].input)
    return list(needed.values())


class Segment:
    """The layers between kept tensors and the next ones.

    Args:
        inputs, outputs: Keras's symbolic tensors.
    """

    def __init__(self, inputs, outputs):
        function = keras.Function(inputs, outputs)
        self.inputs, self.outputs, self.operations = inputs, outputs, function.operations
        self.in_mode = InMode(function)
        layers = [operation for operation in self.operations if isinstance(operation, keras.Layer)]
        self.variables = [variable for layer in layers for variable in layer.variables]

    def run(self, inputs: list, training: bool, shared: "Pure | None" = None, again: bool = False) -> list:
        """The outputs; moves the statistics.

        Args:
            inputs: values.
            training: as in a call of the model.
            shared: the function to be used, of a segment of the same signature; None has one of its own.
            again: whether the backward pass computes it again.
        """
        # Without variables it is as cheap to keep as to recompute.
        if not self.variables or not (shared or again):
            return self.in_mode(inputs, training=training)
        pure = shared or Pure(self, training)
        # What is handed over to be recomputed from TensorFlow copies: so no tables, which have no gradient.
        features = [i for i, x in enumerate(inputs) if keras.backend.is_float_dtype(x.dtype)]

        def from_features(values, weights):
            taken = dict(zip(features, values, strict=True))
            return pure.compute([taken.get(i, x) for i, x in enumerate(inputs)], weights)

        weights = [value_of(variable) for variable in self.variables]
        results = (keras.remat(from_features) if again else from_features)([inputs[i] for i in features], weights)
        count = len(self.outputs)
        for index, value in zip(pure.moved, results[count:], strict=True):
            self.variables[index].assign(value)
        return list(results[:count])

    def signature(self, training: bool) -> str:
        """Equal for segments that compute the same from their inputs and weights: JSON."""
        number = {id(tensor): i for i, tensor in enumerate(self.inputs)}
        lines: list = [training, [[str(t.dtype), t.shape] for t in self.inputs]]
        for operation in self.operations:
            taken, given = tree.flatten(operation.input), tree.flatten(operation.output)
            if any(id(tensor) in number for tensor in given):
                continue
            config = {name: value for name, value in operation.get_config().items() if name != "name"}
            number |= {id(tensor): len(number) + i for i, tensor in enumerate(given)}
            lines += [type(operation).__name__, config, [number[id(tensor)] for tensor in taken]]
        lines += [[number[id(tensor)] for tensor in self.outputs]]
        lines += [[variable.shape, str(variable.dtype), variable.trainable] for variable in self.variables]
        return json.dumps(lines, default=repr)


class InMode(keras.Layer):
    """Calls layers in training or inference mode, wherever it is called itself: a gradient has no mode."""

    def __init__(self, function):
        super().__init__(dtype="float32", autocast=False)
        self.function, self.built = function, True

    def call(self, inputs, training=False):
        """The list of the function's outputs."""
        return self.function(inputs)


class Pure:
    """A segment's computation as a function of its inputs and weights.

    Args:
        segment: whose layers compute.
        training: as in a call of the model.
        wrap: makes another function of `compute`.

    Attributes:
        compute: from inputs and weights, both lists, the list of the outputs and of the new values of what has moved.
        moved: once called, the places of these among the segment's variables.
    """

    def __init__(self, segment: Segment, training: bool, wrap=lambda function: function):
        self.segment, self.training, self.moved = segment, training, list[int]()
        self.compute = wrap(lambda inputs, weights: self._compute(inputs, weights))

    def _compute(self, inputs, weights):
        variables = self.segment.variables
        with keras.StatelessScope(list(zip(variables, weights, strict=True))) as scope:
            outputs = self.segment.in_mode(inputs, training=self.training)
        values = [scope.get_current_value(variable) for variable in variables]
        self.moved = [i for i, (value, given) in enumerate(zip(values, weights, strict=True)) if value is not given]
        return [*outputs, *(ops.stop_gradient(values[i]) for i in self.moved)]
