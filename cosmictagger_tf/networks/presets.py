"""The published architectures by name. Source: the reference CosmicTagger's configuration files."""

from cosmictagger_tf.config import NetworkConfig

PRESETS = {
    "uresnet": NetworkConfig(),
    "uresnet3d": NetworkConfig(conv_mode="3D"),
    "sparse": NetworkConfig(conv_mode="sparse"),
    "a21": NetworkConfig(n_initial_filters=8, residual=False, blocks_final=0, connections="sum"),
    "scc21": NetworkConfig(normalization="none"),
    "polaris": NetworkConfig(
        network_depth=7,
        blocks_deepest_layer=2,
        blocks_final=2,
        bottleneck_deepest=96,
        residual=False,
        connections="sum",
    ),
}
