// SPDX-License-Identifier: Apache-2.0
package io.llmc.distill.training;

import ai.djl.training.tracker.PolynomialDecayTracker;
import ai.djl.training.tracker.Tracker;
import ai.djl.training.tracker.WarmUpTracker;
import io.llmc.distill.spec.DistillSpec;

/// The learning rate of every step, by DJL's trackers.
public final class LearningRate {
    private final Tracker tracker;

    public LearningRate(DistillSpec.Rate rate, int steps) {
        int after = Math.max(1, steps - rate.warmup());
        float end = rate.peak() * rate.end();
        Tracker main =
                switch (rate.schedule()) {
                    case COSINE ->
                            Tracker.cosine()
                                    .setBaseValue(rate.peak())
                                    .optFinalValue(end)
                                    .setMaxUpdates(after)
                                    .build();
                    case LINEAR ->
                            PolynomialDecayTracker.builder()
                                    .setBaseValue(rate.peak())
                                    .setEndLearningRate(end)
                                    .setDecaySteps(after)
                                    .optPower(1)
                                    .build();
                    case CONSTANT -> Tracker.fixed(rate.peak());
                };
        this.tracker =
                rate.warmup() < 1
                        ? main
                        : Tracker.warmUp()
                                .optWarmUpSteps(rate.warmup())
                                .optWarmUpBeginValue(rate.peak() / (rate.warmup() + 1))
                                .optWarmUpMode(WarmUpTracker.Mode.LINEAR)
                                .setMainTracker(main)
                                .build();
    }

    /// @param step from 0
    public float at(int step) {
        return tracker.getNewValue(step);
    }
}
