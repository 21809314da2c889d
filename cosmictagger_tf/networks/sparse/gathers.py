"""Gather and one matrix product: the arithmetic of the sparse network, with gradients that gather as well.

Rows of x are sites. A table of the rulebook names the rows to gather; an index of n, one past the end, is an absent
site, whose channels are 0. The gradients are written out because those of a gather would be scatters: where site j is
the neighbour of i by some shift, i is that of j by the opposite one, so what i receives from j in the forward pass, j
receives from i's gradient through the mirrored kernel. B. Graham, L. van der Maaten, arXiv:1706.01307.
"""

from keras import ops

from cosmictagger_tf.backend import take_rows, transposed_product, upstream_of, zero_after


def gather(x, sites, after=None):
    """Rows of x [n, channels] at `sites` [m, k], 0 where absent: [m, k * channels].

    Args:
        x, sites: see above.
        after: a matrix that must be there before, see backend.zero_after.
    """
    nothing = ops.zeros((1, x.shape[1]), dtype=x.dtype)
    if after is not None:
        nothing = nothing + ops.cast(zero_after(after), x.dtype)
    rows = take_rows(ops.concatenate([x, nothing]), sites)
    return ops.reshape(rows, (-1, sites.shape[1] * x.shape[1]))


def submanifold(x, kernel, sites):
    """A submanifold convolution.

    Args:
        x: [n, in].
        kernel: [..., in, out], the taps of a window row by row.
        sites: int32 [n, taps], see rulebook.neighbours.

    Returns:
        [n, out]: y[i] = sum over t of x[sites[i, t]] @ kernel[t].
    """
    taps, (channels, filters) = sites.shape[1], kernel.shape[-2:]

    @ops.custom_gradient
    def product(x, kernel):
        def gradient(*args, upstream=None):
            dy = upstream_of(args, upstream)
            dkernel = transposed_product(gather(x, sites, after=dy), dy)
            mirrored = _transposed(ops.flip(ops.reshape(kernel, (taps, channels, filters)), axis=0))
            # All that is left of the backward pass waits for dx: so only one gather, k times as long as the features,
            # is there at a time.
            dx = ops.matmul(gather(dy, sites, after=dkernel), ops.reshape(mirrored, (taps * filters, channels)))
            return dx, ops.reshape(dkernel, kernel.shape)

        return ops.matmul(gather(x, sites), ops.reshape(kernel, (taps * channels, filters))), gradient

    return product(x, kernel)


def strided(x, kernel, children, parents):
    """A convolution of size 2 and stride 2.

    Args:
        x: [n, in], at the fine level.
        kernel: [4, in, out], by child.
        children, parents: int32 [m, 4] and [n], see rulebook.build_rulebook.

    Returns:
        [m, out], at the coarse level: y[j] = sum over t of x[children[j, t]] @ kernel[t].
    """
    _, channels, filters = kernel.shape

    @ops.custom_gradient
    def product(x, kernel):
        def gradient(*args, upstream=None):
            dy = upstream_of(args, upstream)
            dkernel = transposed_product(gather(x, children, after=dy), dy)
            return _spread(dy, _transposed(kernel), parents), ops.reshape(dkernel, (4, channels, filters))

        return ops.matmul(gather(x, children), ops.reshape(kernel, (4 * channels, filters))), gradient

    return product(x, kernel)


def transposed(x, kernel, children, parents):
    """A transposed convolution of size 2 and stride 2, onto the sites that are there.

    Args:
        x: [m, in], at the coarse level.
        kernel: [4, in, out], by child.
        children, parents: int32 [m, 4] and [n].

    Returns:
        [n, out], at the fine level: y[i] = x[parent of i] @ kernel[which child i is].
    """
    _, channels, filters = kernel.shape

    @ops.custom_gradient
    def product(x, kernel):
        def gradient(*args, upstream=None):
            gathered = gather(upstream_of(args, upstream), children)
            dx = ops.matmul(gathered, ops.reshape(_transposed(kernel), (4 * filters, channels)))
            dkernel = ops.reshape(transposed_product(x, gathered), (channels, 4, filters))
            return dx, ops.transpose(dkernel, (1, 0, 2))

        return _spread(x, kernel, parents), gradient

    return product(x, kernel)


def max_pool(x, children, parents):
    """The greatest of the children that are there, channel by channel; 0 where there is none.

    Args:
        x: [n, channels], at the fine level.
        children, parents: int32 [m, 4] and [n].

    Returns:
        [m, channels], at the coarse level. Of equal children the first one gets the gradient.
    """
    absent = ops.shape(x)[0]
    # An absent child is replaced by one that is there, which changes no maximum.
    there = ops.max(ops.where(children == absent, -1, children), axis=1, keepdims=True, initial=-1)
    children = ops.where(children == absent, ops.where(there < 0, absent, there), children)

    @ops.custom_gradient
    def pooled(x):
        greatest, winner = gather(x, children[:, :1]), children[:, :1]
        for child in range(1, 4):
            site = children[:, child : child + 1]
            other = gather(x, site)
            winner = ops.where(other > greatest, site, winner)
            greatest = ops.maximum(greatest, other)
        winner = ops.broadcast_to(winner, ops.shape(greatest))

        def gradient(*args, upstream=None):
            dy, parent = upstream_of(args, upstream), parents[:, None] // 4
            won = gather(winner, parent, after=dy) == ops.arange(absent, dtype="int32")[:, None]
            return ops.where(won, gather(dy, parent), 0)

        return greatest, gradient

    return pooled(x)


def row_max(x, rows, number):
    """The greatest value in each row of the images, channel by channel; 0 where a row has no site.

    Args:
        x: [n, channels].
        rows: int32 [n], the row of each site; `number` where padded.
        number: of rows.

    Returns:
        [number, channels]. Equal sites share the gradient.
    """

    @ops.custom_gradient
    def greatest(x):
        ones = ops.ones_like(x[:, :1])
        there = ops.segment_sum(ones, rows, number + 1) > 0
        most = ops.where(there, ops.segment_max(x, rows, number + 1), 0)

        def gradient(*args, upstream=None):
            dy = upstream_of(args, upstream)
            dy = ops.concatenate([dy, ops.zeros_like(dy[:1])])
            won = ops.cast(x == take_rows(most, rows), x.dtype)
            winners = ops.maximum(ops.segment_sum(won, rows, number + 1), 1)
            return won * take_rows(dy / winners, rows)

        return most[:-1], gradient

    return greatest(x)


def repeat(x, children, parents):
    """Interpolation to the nearest pixel: every child gets its parent's channels. [m, channels] -> [n, channels]."""

    @ops.custom_gradient
    def repeated(x):
        def gradient(*args, upstream=None):
            gathered = gather(upstream_of(args, upstream), children)
            return ops.sum(ops.reshape(gathered, (-1, 4, x.shape[1])), axis=1)

        return gather(x, parents[:, None] // 4), gradient

    return repeated(x)


def _spread(x, kernel, parents):
    """Each row of x [m, in] times kernel [4, in, out], and of the 4 products the one that `parents` [n] names."""
    _, channels, filters = kernel.shape
    products = ops.matmul(x, ops.reshape(ops.transpose(kernel, (1, 0, 2)), (channels, 4 * filters)))
    return gather(ops.reshape(products, (-1, filters)), parents[:, None])


def _transposed(kernel):
    return ops.transpose(kernel, (0, 2, 1))
