// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.WeightLayout;
import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.Size;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// What is known of the programs that read an output, where it is about to meet a limit of theirs.
final class Consumers {
    private Consumers() {}

    /// @param packed layers that are written packed
    static List<String> notes(
            ModelSpec source,
            ModelSpec target,
            Set<String> packed,
            List<BlockPass> passes,
            WeightLayout layout) {
        List<String> notes = new ArrayList<>();
        if (!packed.isEmpty()) {
            notes.addAll(split(target, packed));
        }
        boolean groupIndex = passes.stream().anyMatch(BlockPass::groupIndex);
        if (!packed.isEmpty() && groupIndex && layout.name().equals("compressed-tensors")) {
            notes.add(
                    "actOrder group is being dropped: compressed-tensors 0.19 and later refuse a"
                            + " model with a group index; actOrder static is read by all, and so is"
                            + " layout gptq");
        }
        int heads = heads(target);
        if (heads > 0 && target.hidden() % heads != 0 && source.hidden() % heads(source) == 0) {
            notes.add(
                    "%d heads do not divide the %d channels of the stream, which transformers asks of some families (llama, gemma3); %s would"
                            .formatted(heads, target.hidden(), divisors(target, heads(source))));
        }
        return notes;
    }

    private static int heads(ModelSpec spec) {
        return spec.layers().getFirst().count(Size.HEADS);
    }

    private static String divisors(ModelSpec spec, int most) {
        return IntStream.range(1, most)
                .filter(h -> spec.hidden() % h == 0)
                .mapToObj(Integer::toString)
                .collect(Collectors.joining(", "));
    }

    /// vLLM loads some layers as one, which then is packed or is not.
    private static List<String> split(ModelSpec spec, Set<String> packed) {
        Map<String, Integer> blocks = new LinkedHashMap<>();
        spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .flatMap(body -> body.joints().stream())
                .forEach(joint -> {
                    long some = joint.linears().stream().filter(packed::contains).count();
                    if (some > 0 && some < joint.linears().size()) {
                        blocks.merge(sentence(joint, packed), 1, Integer::sum);
                    }
                });
        return blocks.entrySet().stream().map(e -> e.getKey().formatted(e.getValue())).toList();
    }

    /// With a place for the number of blocks.
    private static String sentence(BodySpec.Joint joint, Set<String> packed) {
        List<String> names = joint.linears();
        String some = joint.called().isPresent() ? "some" : last(names, packed::contains);
        String others =
                joint.called().isPresent() ? "others" : last(names, n -> !packed.contains(n));
        return ("vLLM loads %s as one layer and refuses a mix: in %%d blocks %s would be packed and"
                        + " %s not; quantize all of them or none")
                .formatted(joint.called().orElse(last(names, _ -> true)), some, others);
    }

    /// The last parts of some of the names.
    private static String last(List<String> names, Predicate<String> some) {
        return names.stream()
                .filter(some)
                .map(n -> n.substring(n.lastIndexOf('.') + 1))
                .distinct()
                .collect(Collectors.joining(", "));
    }
}
