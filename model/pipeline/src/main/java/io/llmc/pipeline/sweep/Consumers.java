// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.sweep;

import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import io.llmc.tensor.Scheme;
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

    /// Readers that want the heads to divide the stream's channels.
    static List<String> heads(ModelSpec source, ModelSpec target) {
        int heads = heads(target);
        boolean unusual =
                heads > 0 && target.hidden() % heads != 0 && source.hidden() % heads(source) == 0;
        return unusual
                ? List.of(
                        "%d heads do not divide the %d channels of the stream, which transformers asks of some families (llama, gemma3); %s would"
                                .formatted(heads, target.hidden(), divisors(target, heads(source))))
                : List.of();
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

    private static final String SCHEMES =
            "vLLM loads %s as one layer and reads one scheme for it: in %%d blocks they differ;"
                    + " give all of them the same";

    /// vLLM loads some layers as one, which then is packed or is not, in one way.
    ///
    /// @param schemes of layers that are written packed
    static List<String> split(ModelSpec spec, Map<String, Scheme> schemes) {
        Set<String> packed = schemes.keySet();
        Map<String, Integer> blocks = new LinkedHashMap<>();
        spec.layers().stream()
                .flatMap(LayerSpec::bodies)
                .flatMap(body -> body.joints().stream())
                .forEach(joint -> {
                    List<String> names = joint.linears();
                    long some = names.stream().filter(packed::contains).count();
                    if (some > 0 && some < names.size()) {
                        blocks.merge(sentence(joint, packed), 1, Integer::sum);
                    } else if (names.stream().map(schemes::get).distinct().count() > 1) {
                        blocks.merge(SCHEMES.formatted(last(names, _ -> true)), 1, Integer::sum);
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
