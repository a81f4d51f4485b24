// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline;

import io.llmc.formats.WeightLayout;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/// What is known of the programs that read an output, where it is about to meet a limit of theirs.
final class Consumers {
    private static final String EXPERTS =
            "vLLM loads all experts of a block as one layer and refuses a mix: in %d blocks some"
                    + " would be packed and others not; quantize all of them or none";

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
        if (target.hidden() % heads != 0 && source.hidden() % heads(source) == 0) {
            notes.add(
                    "%d heads do not divide the %d channels of the stream, which transformers asks of some families (llama, gemma3); %s would"
                            .formatted(heads, target.hidden(), divisors(target, heads(source))));
        }
        return notes;
    }

    private static int heads(ModelSpec spec) {
        return spec.layers().getFirst().attention().heads();
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
        for (LayerSpec layer : spec.layers()) {
            fused(layer)
                    .forEach(names -> {
                        long some = names.stream().filter(packed::contains).count();
                        if (some > 0 && some < names.size()) {
                            String sentence =
                                    layer.feedForward() instanceof LayerSpec.Experts
                                                    && !names.equals(
                                                            layer.attention().projections())
                                            ? EXPERTS
                                            : sentence(names, packed);
                            blocks.merge(sentence, 1, Integer::sum);
                        }
                    });
        }
        return blocks.entrySet().stream().map(e -> e.getKey().formatted(e.getValue())).toList();
    }

    /// Groups of layers that are loaded as one.
    private static Stream<List<String>> fused(LayerSpec layer) {
        Stream<List<String>> feedForward =
                switch (layer.feedForward()) {
                    case LayerSpec.Mlp mlp -> Stream.of(mlp.inputs());
                    case LayerSpec.Experts e ->
                            Stream.of(
                                    e.experts().stream()
                                            .flatMap(expert ->
                                                    Stream.concat(
                                                            expert.inputs().stream(),
                                                            Stream.of(expert.down())))
                                            .toList());
                };
        return Stream.concat(Stream.of(layer.attention().projections()), feedForward);
    }

    /// With a place for the number of blocks.
    private static String sentence(List<String> names, Set<String> packed) {
        return ("vLLM loads %s as one layer and refuses a mix: in %%d blocks %s would be packed and"
                        + " %s not; quantize all of them or none")
                .formatted(
                        last(names.stream()),
                        last(names.stream().filter(packed::contains)),
                        last(names.stream().filter(n -> !packed.contains(n))));
    }

    /// The last parts of names.
    private static String last(Stream<String> names) {
        return names.map(n -> n.substring(n.lastIndexOf('.') + 1))
                .distinct()
                .collect(Collectors.joining(", "));
    }
}
