// SPDX-License-Identifier: Apache-2.0
package io.llmc.model.structure;

/// A size of a model, as config.json has it. Structured pruning may change all but the last.
public enum Size {
    HIDDEN("hidden size", "channels"),
    LAYERS("number of layers", "layers"),
    HEADS("number of attention heads", "heads"),
    KV_HEADS("number of KV heads", "KV heads"),
    INTERMEDIATE("feed-forward size", "channels"),
    EXPERTS("number of experts", "experts"),
    EXPERT_INTERMEDIATE("feed-forward size of experts", "channels"),
    SHARED_INTERMEDIATE("feed-forward size of the shared expert", "channels"),
    QUERY_RANK("rank of queries", "channels"),
    LATENT_RANK("rank of keys and values", "channels"),
    HEAD_DIM("size of a head", "channels");

    private final String description;
    private final String parts;

    Size(String description, String parts) {
        this.description = description;
        this.parts = parts;
    }

    /// What it counts.
    public String parts() {
        return parts;
    }

    @Override
    public String toString() {
        return description;
    }
}
