// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.plan;

import io.llmc.formats.UserException;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.plan.BlockCost.AttentionCost;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// How a model lies on several devices: `tensor * pipeline * experts` of them.
///
/// - tensor: every matrix is cut among the devices, heads and channels whole, and after each branch
///   of a block they add up what they have (Shoeybi et al., 2019, arXiv 1909.08053: one dimension,
///   weights stay).
/// - pipeline: each has some of the blocks, one after the other.
/// - experts: each has some of the experts and a copy of all else, and works on its own requests; a
///   token travels to its experts and back.
public record Split(int tensor, int pipeline, int experts) {
    public static final Split NONE = new Split(1, 1, 1);

    public Split {
        if (tensor < 1 || pipeline < 1 || experts < 1) {
            throw new IllegalArgumentException(
                    "no split of %d x %d x %d".formatted(tensor, pipeline, experts));
        }
    }

    public int devices() {
        return tensor * pipeline * experts;
    }

    /// Every split of so many devices that a model allows.
    public static List<Split> of(int devices, ModelCost model) {
        List<Split> all = new ArrayList<>();
        for (int tensor = 1; tensor <= devices; tensor++) {
            for (int pipeline = 1; tensor * pipeline <= devices; pipeline++) {
                Split split = new Split(tensor, pipeline, devices / (tensor * pipeline));
                if (split.devices() == devices && split.fits(model)) {
                    all.add(split);
                }
            }
        }
        return all;
    }

    private boolean fits(ModelCost model) {
        return heads(model) % tensor == 0
                && pipeline <= model.blocks().size()
                && most(model) % experts == 0;
    }

    /// The greatest common divisor of the numbers of heads of all blocks.
    private static int heads(ModelCost model) {
        return model.blocks().stream()
                .flatMap(b -> b.attentions().stream())
                .mapToInt(AttentionCost::heads)
                .reduce(0, Split::divisor);
    }

    private static int most(ModelCost model) {
        int experts =
                model.blocks().stream()
                        .flatMap(b -> b.experts().stream())
                        .mapToInt(BlockCost.Experts::count)
                        .reduce(0, Split::divisor);
        return experts == 0 ? 1 : experts;
    }

    private static int divisor(int a, int b) {
        return b == 0 ? a : divisor(b, a % b);
    }

    /// @throws UserException where the model cannot be cut like this, with what it can
    public void require(ModelCost model) {
        ModelSpec spec = model.spec();
        if (heads(model) % tensor != 0) {
            throw wrong(
                    "{plan.tp} %d does not divide the %d heads".formatted(tensor, heads(model)),
                    divisors(heads(model)));
        }
        if (pipeline > spec.layers().size()) {
            throw new UserException(
                    "{plan.pp} %d is more than the %d layers"
                            .formatted(pipeline, spec.layers().size()),
                    "each device needs one at least");
        }
        if (most(model) == 1 && experts > 1) {
            throw new UserException(
                    "{plan.ep} %d, but a %s has no experts".formatted(experts, spec.modelType()),
                    "leave it out");
        }
        if (most(model) % experts != 0) {
            throw wrong(
                    "{plan.ep} %d does not divide the %d experts".formatted(experts, most(model)),
                    divisors(most(model)));
        }
    }

    private static UserException wrong(String what, List<Integer> instead) {
        return new UserException(
                what,
                instead.stream()
                        .map(Object::toString)
                        .collect(Collectors.joining(", ", "these do: ", "")));
    }

    private static List<Integer> divisors(int n) {
        return IntStream.rangeClosed(1, n).filter(d -> n % d == 0).boxed().toList();
    }

    /// Blocks of the device that has most.
    int blocks(int all) {
        return Math.ceilDiv(all, pipeline);
    }

    /// Keys and values of a token on one device: heads are shared out, and copied where there are
    /// more devices than heads that have some.
    long kept(AttentionCost attention) {
        return (long) Math.ceilDiv(attention.kvHeads(), tensor) * attention.kept();
    }

    /// As `tp 4, pp 2`; `one device` where it is not split.
    public String describe() {
        List<String> parts = new ArrayList<>();
        if (tensor > 1) {
            parts.add("tp " + tensor);
        }
        if (pipeline > 1) {
            parts.add("pp " + pipeline);
        }
        if (experts > 1) {
            parts.add("ep " + experts);
        }
        return parts.isEmpty() ? "one device" : String.join(", ", parts);
    }
}
