// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats;

/// How a method finds the codes of layers, as far as config files tell it.
///
/// @param method `gptq`, `rtn`, ...
/// @param damp added to the Hessian's diagonal, as a part of its mean; 0 where there is none
/// @param groupIndex groups follow the order of the columns, so that weights have a group index
/// @param sequential each layer sees the outputs of the compressed layers before it
public record Solver(
        String method, double damp, Order order, boolean groupIndex, boolean sequential) {
    /// In which order columns are rounded.
    public enum Order {
        /// As they stand.
        STORED,
        /// The most active inputs first.
        ACTIVATIONS
    }

    public boolean ordered() {
        return order == Order.ACTIVATIONS;
    }
}
