"""Activation recomputation (arXiv:1604.06174): the backward pass computes again what the forward pass did not keep."""

import keras
from keras import ops, tree


@keras.saving.register_keras_serializable(package="cosmictagger_tf")
class RecomputingModel(keras.Model):
    """A functional model that keeps a few of its tensors for the backward pass and recomputes the others from them.

    Layers, weights, outputs and gradients are those of keras.Model(inputs, outputs); what changes is when a training
    step holds which tensor. Variables that a pass updates (moving statistics) are updated once.

    Args:
        inputs, outputs: as in keras.Model; of several outputs each is computed from inputs and kept tensors.
        kept: tensors on the way that are kept, in the order of computation. What lies between them is recomputed.
    """

    def __init__(self, inputs, outputs, kept, **kwargs):
        # float32: the values handed around here are the variables' own; each layer casts for itself.
        super().__init__(inputs=inputs, outputs=outputs, dtype="float32", **kwargs)
        # Each once, or what leads to it would be computed, and its statistics moved, twice.
        kept = list({id(tensor): tensor for tensor in tree.flatten(kept)}.values())
        self._segments = _segments(self, inputs, [*kept, outputs])
        self._kept = [_producers(self)[id(tensor)].name for tensor in kept]

    def call(self, inputs, training=None, mask=None):
        if not training:
            return super().call(inputs, training=training, mask=mask)
        names = [id(tensor) for tensor in tree.flatten(self._segments[0].model_inputs)]
        values = dict(zip(names, tree.flatten(inputs), strict=True))
        *segments, last = self._segments
        for segment in segments:
            values[id(segment.output)] = segment([values[id(tensor)] for tensor in segment.inputs])
        # The backward pass begins with the last one: to forget it would save nothing.
        return last.model([values[id(tensor)] for tensor in last.inputs], training=True)

    def get_config(self):
        return {
            "model": keras.saving.serialize_keras_object(keras.Model(self.input, self.output)),
            "kept": self._kept,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        kept = [model.get_layer(name).output for name in config["kept"]]
        return cls(model.input, model.output, kept, name=config["name"])


class _Segment:
    """The layers between kept tensors and the next one."""

    def __init__(self, model_inputs, inputs, output):
        self.model_inputs, self.inputs, self.output = model_inputs, inputs, output
        self.model = keras.Model(inputs, output)

    def __call__(self, inputs):
        trainable, moving = self.model.trainable_variables, self.model.non_trainable_variables
        if not self.model.variables:
            # As cheap to keep as to recompute.
            return self.model(inputs, training=True)

        # What is handed over TensorFlow copies, to compute with it later on: so no tables, which have no gradient, and
        # no variables, whose gradients it finds by itself.
        features = [i for i, x in enumerate(inputs) if keras.backend.is_float_dtype(x.dtype)]

        def pure(values, moving_values):
            taken = dict(zip(features, values, strict=True))
            state = [(variable, variable.value) for variable in trainable]
            with keras.StatelessScope([*state, *zip(moving, moving_values, strict=True)]) as scope:
                y = self.model([taken.get(i, x) for i, x in enumerate(inputs)], training=True)
            return [y, *(ops.stop_gradient(scope.get_current_value(variable)) for variable in moving)]

        y, *moved = keras.remat(pure)([inputs[i] for i in features], [v.value for v in moving])
        for variable, value in zip(moving, moved, strict=True):
            variable.assign(value)
        return y


def _producers(model):
    return {id(tensor): operation for operation in model.operations for tensor in tree.flatten(operation.output)}


def _segments(model, inputs, kept):
    """Cuts the graph: each kept tensor with the earlier ones (or the model's inputs) that it is computed from."""
    producer = _producers(model)
    ends = {id(tensor): tensor for tensor in tree.flatten(inputs)}
    segments = []
    for tensor in kept:
        segments.append(_Segment(inputs, _needed(producer, tensor, ends), tensor))
        ends[id(tensor)] = tensor
    return segments


def _needed(producer, outputs, ends):
    needed, seen, waiting = {}, set(), list(tree.flatten(outputs))
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in ends:
            needed[id(tensor)] = tensor
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            waiting += tree.flatten(producer[id(tensor)].input)
    return list(needed.values())
