// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

/// How blocks are chosen that go.
enum LayerScore {
    /// Those whose output is nearest to their input: [BlockInfluence].
    BLOCK_INFLUENCE,
    /// A run of blocks whose output is nearest to its input: [AngularDistance].
    ANGULAR,
    /// One after the other, each time the one that is missed least: [GreedySearch].
    GREEDY
}
