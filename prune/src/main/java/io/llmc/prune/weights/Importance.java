// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.weights;

/// How much a channel or a head counts.
public enum Importance {
    /// Over sequences, the norm of the mean size of its activations: Minitron,
    /// https://arxiv.org/abs/2407.14679.
    ACTIVATION,
    /// Sum over outputs of weight times norm of the input, as Wanda has it for single weights.
    WANDA,
    /// Output error that its removal leaves when the others make up for it, from the Hessian: the
    /// optimal brain surgeon for groups, as in ZipLM, https://arxiv.org/abs/2302.04089.
    OBS
}
