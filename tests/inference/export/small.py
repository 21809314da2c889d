"""Networks that are exported in a second."""

SIZES = {
    "n_initial_filters": 2,
    "network_depth": 2,
    "blocks_per_layer": 1,
    "blocks_deepest_layer": 1,
    "blocks_final": 1,
    "bottleneck_deepest": 4,
}
HEADS = {"event_head": True, "event_filters": 2, "event_blocks": 1}
HEADS |= {"vertex_head": True, "vertex_filters": 2, "vertex_blocks": 1, "vertex_depth": 1}
# The design for sparse networks, with all that comes with it.
SITES = HEADS | {"head_design": "sites", "event_joins_pixels": True, "normalise_charge": True}
