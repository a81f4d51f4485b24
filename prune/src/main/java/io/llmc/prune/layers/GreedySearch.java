// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune.layers;

import io.llmc.model.language.LanguageModel;
import io.llmc.pipeline.pass.HeadLoss;
import io.llmc.pipeline.pass.HiddenStates;
import io.llmc.pipeline.pass.ModelScope;
import java.util.ArrayList;
import java.util.List;
import java.util.function.DoubleSupplier;
import java.util.stream.IntStream;

/// Drops block after block: in each round the one without which the blocks that are left predict
/// the calibration text best.
///
/// In a round the sequences go through the blocks once; before each block they fork, and a copy
/// skips it and runs through those behind it. That costs about half of a forward pass a candidate,
/// where evaluating each smaller model costs a whole one. Every loss is noted, so that an
/// interrupted search goes on where it was.
final class GreedySearch {
    private final ModelScope scope;
    private final LanguageModel model;
    private final HiddenStates states;
    private List<Integer> left;

    /// Blocks of `left` that the sequences are behind; more than any where they must begin anew.
    private int passed;

    /// A round.
    ///
    /// @param losses without each block, by its index; null for one that had gone before
    record Round(List<Double> losses, int dropped) {
        double loss() {
            return losses.get(dropped);
        }
    }

    /// Losses are mean negative log-likelihoods, in nats a token.
    ///
    /// @param before of the whole model
    record Result(double before, List<Round> rounds) {
        List<Integer> dropped() {
            return rounds.stream().map(Round::dropped).toList();
        }
    }

    private GreedySearch(ModelScope scope, HiddenStates states) {
        this.scope = scope;
        this.model = scope.model();
        this.states = states;
        this.left = IntStream.range(0, layers()).boxed().toList();
    }

    static Result run(ModelScope scope, int drop) {
        try (HiddenStates states = scope.sequences()) {
            return new GreedySearch(scope, states).run(drop);
        }
    }

    /// Passes of all calibration sequences through one block that a whole search takes.
    static long blockPasses(int layers, int drop) {
        // The first round leaves the sequences before the last block of the whole model.
        long passes = 1;
        for (int round = 0; round < drop; round++) {
            int blocks = layers - round;
            passes += IntStream.range(0, blocks).mapToLong(p -> passes(blocks, p)).sum();
        }
        return passes;
    }

    /// Passes for the candidate at a place among `blocks`: to get there from the one before, and
    /// through what follows.
    private static int passes(int blocks, int place) {
        return (place > 0 ? 1 : 0) + blocks - 1 - place;
    }

    private int layers() {
        return model.spec().layers().size();
    }

    private Result run(int drop) {
        scope.progress().begin("searching blocks to drop", blockPasses(layers(), drop));
        List<Round> rounds = new ArrayList<>();
        double before = Double.NaN;
        for (int round = 0; round < drop; round++) {
            List<Double> losses = losses(round);
            if (round == 0) {
                // The sequences are before the last block anyway.
                before = remembered("greedy-before", this::lossOfAll);
                scope.progress().advance(1, "the whole model");
            }
            int dropped = best(losses);
            rounds.add(new Round(losses, dropped));
            left = left.stream().filter(b -> b != dropped).toList();
            passed = Integer.MAX_VALUE;
        }
        scope.progress().end();
        return new Result(before, rounds);
    }

    /// Of what is left without each of its blocks, by block.
    private List<Double> losses(int round) {
        List<Double> losses = new ArrayList<>();
        for (int block = 0; block < layers(); block++) {
            int place = left.indexOf(block);
            if (place < 0) {
                losses.add(null);
                continue;
            }
            losses.add(
                    remembered("greedy-%d-%d".formatted(round, block), () -> lossWithout(place)));
            scope.progress()
                    .advance(
                            passes(left.size(), place),
                            "round %d, without %d".formatted(round + 1, block));
        }
        return losses;
    }

    private double remembered(String name, DoubleSupplier loss) {
        return scope.remember(name, () -> new double[] {loss.getAsDouble()})[0];
    }

    private double lossWithout(int place) {
        advanceTo(place);
        states.mark();
        for (int i = place + 1; i < left.size(); i++) {
            states.advance(left.get(i));
        }
        double loss = HeadLoss.mean(model, states);
        states.rewind();
        return loss;
    }

    private double lossOfAll() {
        advanceTo(left.size());
        return HeadLoss.mean(model, states);
    }

    /// Puts the sequences behind the first `place` blocks that are left.
    private void advanceTo(int place) {
        if (passed > place) {
            states.embed();
            passed = 0;
        }
        while (passed < place) {
            states.advance(left.get(passed++));
        }
    }

    /// The block of the smallest loss; the first of them where several have it.
    private static int best(List<Double> losses) {
        int best = -1;
        for (int block = 0; block < losses.size(); block++) {
            Double loss = losses.get(block);
            if (loss != null && (best < 0 || loss < losses.get(best))) {
                best = block;
            }
        }
        return best;
    }
}
