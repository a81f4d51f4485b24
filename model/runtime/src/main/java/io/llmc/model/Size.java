// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

/// A size of a model that structured pruning may change.
public enum Size {
    HIDDEN("hidden size"),
    LAYERS("number of layers"),
    HEADS("number of attention heads"),
    KV_HEADS("number of KV heads"),
    INTERMEDIATE("feed-forward size"),
    EXPERTS("number of experts");

    private final String description;

    Size(String description) {
        this.description = description;
    }

    @Override
    public String toString() {
        return description;
    }
}
