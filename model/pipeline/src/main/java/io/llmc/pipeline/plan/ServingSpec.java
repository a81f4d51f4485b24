// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

/// How a model is served.
///
/// @param cacheBits of a cached number
/// @param page tokens of a page of the cache
/// @param chunk tokens that go through the model at once while prompts are read
/// @param reserve part of a device's memory that stays free
/// @param split over devices
public record ServingSpec(int cacheBits, int page, int chunk, double reserve, Split split) {
    public ServingSpec {
        if (cacheBits < 1 || page < 1 || chunk < 1 || !(reserve >= 0 && reserve < 1)) {
            throw new IllegalArgumentException("no way to serve: page " + page);
        }
    }

    public ServingSpec over(Split other) {
        return new ServingSpec(cacheBits, page, chunk, reserve, other);
    }
}
