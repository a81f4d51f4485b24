// SPDX-License-Identifier: Apache-2.0
package io.llmc.quantize;

/// In which order GPTQ rounds columns, and which columns share a group.
public enum ActOrder {
    /// The most active inputs first; groups stay contiguous, so that the file needs no group index.
    STATIC,
    /// The most active inputs first, and groups follow that order: the file has a group index.
    GROUP,
    /// As the columns stand.
    NONE
}
