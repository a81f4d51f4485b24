// SPDX-License-Identifier: Apache-2.0
package io.llmc.pipeline.reader;

import io.llmc.model.BodySpec;
import io.llmc.model.LayerSpec;
import io.llmc.model.ModelSpec;
import io.llmc.model.structure.Size;
import io.llmc.pipeline.reader.Output.Part;
import io.llmc.pipeline.reader.Rule.Conflict;
import io.llmc.tensor.Codes;
import io.llmc.tensor.ScaleKind;
import io.llmc.tensor.Tiles;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.IntPredicate;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/// The kinds of rules of which [Target] is a table.
final class Rules {
    /// Integers, alone: weights that are read 16 bits wide.
    static final Which GROUPS = Which.of(p -> Which.ints(p) && p.scheme().inputs().isEmpty());

    static final Which EXPERTS = Which.of(p -> p.expert() && GROUPS.layers().test(p));
    static final Which INDEXED = Which.of(p -> p.indexed() && GROUPS.layers().test(p));

    /// Integers of 8 bits times integers.
    static final Which INT8 =
            Which.of(p ->
                    Which.ints(p)
                            && Which.grid(p).codes().bits() == 8
                            && Which.inputsAre(p, Codes.Ints.class));

    static final Which INT4_FP8 =
            Which.of(p -> Which.ints(p) && Which.inputsAre(p, Codes.Floats.class));

    /// Small floats in blocks of several rows.
    static final Which BLOCKS =
            Which.of(p ->
                    !Which.ints(p)
                            && Which.grid(p).tiles().rows() > 1
                            && Which.grid(p).tiles().cols() > 1);

    /// Integers of fewer bits times rounded inputs.
    static final Which FEW_BITS_TIMES =
            Which.of(p ->
                    Which.ints(p)
                            && Which.grid(p).codes().bits() != 8
                            && p.scheme().inputs().isPresent());

    static final Which FEW_BITS_TIMES_INTEGERS =
            Which.of(p -> FEW_BITS_TIMES.layers().test(p) && Which.inputsAre(p, Codes.Ints.class));

    static final Which ONE_SCALE =
            Which.of(p -> !Which.ints(p) && Which.grid(p).tiles().equals(Tiles.TENSOR));

    /// MXFP4, MXFP8.
    static final Which MX = Which.of(p -> Which.grid(p).scales() == ScaleKind.POWER);

    /// NVFP4, MXFP4, MXFP8.
    static final Which FLOAT_GROUPS =
            Which.of(p -> !Which.ints(p) && Which.grid(p).scales() != ScaleKind.FLOAT);

    private Rules() {}

    static Rule layouts(String... read) {
        List<String> known = List.of(read);
        return o ->
                known.contains(o.layout())
                        ? List.of()
                        : List.of(
                                new Conflict(
                                        "it reads no layout %s".formatted(o.layout()),
                                        "try {save.layout} " + known.getFirst()));
    }

    /// @param nearest a scheme that it reads
    static Rule unread(Which which, String nearest) {
        return each(
                which,
                _ -> true,
                (_, p) ->
                        new Conflict(
                                "it does not read %s, which %s would be"
                                        .formatted(p.scheme().describe(), p.name()),
                                "try {scheme} " + nearest));
    }

    /// Attention is spread by heads; where there are fewer KV heads than processes, several
    /// processes hold the same one.
    static Rule wholeHeads() {
        return o -> {
            for (LayerSpec layer : o.model().layers()) {
                int heads = layer.count(Size.HEADS);
                int kvHeads = layer.count(Size.KV_HEADS);
                IntPredicate fits =
                        n ->
                                heads % n == 0
                                        && (kvHeads == 0 || kvHeads % n == 0 || n % kvHeads == 0);
                if (heads > 0 && !fits.test(o.parts())) {
                    return List.of(
                            new Conflict(
                                    "%d heads and %d KV heads cannot be spread over %d processes"
                                            .formatted(heads, kvHeads, o.parts()),
                                    "try {save.tp} " + largest(o.parts(), fits)));
                }
            }
            return List.of();
        };
    }

    private static int largest(int most, IntPredicate fits) {
        return IntStream.rangeClosed(1, most).filter(fits).max().orElse(1);
    }

    /// Every process gets as many rows or columns of a layer.
    static Rule equalParts() {
        return o -> {
            for (Part p : o.all()) {
                boolean columns = p.in() != p.whole().in();
                long size = columns ? p.whole().in() : p.whole().out();
                if (size % o.parts() != 0 && p.whole().sizes().getFirst() != Size.KV_HEADS) {
                    return List.of(
                            new Conflict(
                                    "%s has %d %s, which %d processes cannot share equally"
                                            .formatted(
                                                    p.name(),
                                                    size,
                                                    columns ? "inputs" : "outputs",
                                                    o.parts()),
                                    "try {save.tp} " + largest(o.parts(), n -> size % n == 0)));
                }
            }
            return List.of();
        };
    }

    /// Bits of integers.
    static Rule bits(Which which, Integer... read) {
        return each(
                which,
                p -> !Arrays.asList(read).contains(Which.grid(p).codes().bits()),
                (_, p) -> {
                    int bits = Which.grid(p).codes().bits();
                    return new Conflict(
                            "it has no kernel for integers of %d bits, which %s would have"
                                    .formatted(bits, p.name()),
                            "try {bits} " + nearest(List.of(read), bits));
                });
    }

    /// @param read bits of integers that may have zero points
    static Rule zeroPoints(Which which, Integer... read) {
        return each(
                which,
                p ->
                        Which.grid(p).codes() instanceof Codes.Ints ints
                                && !ints.symmetric()
                                && !Arrays.asList(read).contains(ints.bits()),
                (o, p) ->
                        new Conflict(
                                "it reads %s of %d bits without zero points alone, and %s would have some"
                                        .formatted(
                                                o.layout(), Which.grid(p).codes().bits(), p.name()),
                                read.length == 0
                                        ? "round symmetrically"
                                        : "round symmetrically, or with {bits} " + read[0]));
    }

    /// Weights that share a scale, or a whole row.
    static Rule groups(Which which, Integer... read) {
        List<Integer> sizes = List.of(read);
        return each(
                which,
                p -> {
                    int size = Which.grid(p).tiles().cols();
                    return !sizes.contains(size) && (size != Tiles.ALL || which.equals(INT4_FP8));
                },
                (o, p) ->
                        new Conflict(
                                "it has no kernel for %s, which %s would have"
                                        .formatted(Which.grid(p).tiles().describe(), p.name()),
                                "try {groupSize} "
                                        + group(o, which, sizes, Which.grid(p).tiles())));
    }

    /// Each process holds whole groups.
    static Rule divided(Which which) {
        Predicate<Part> fits = p -> p.in() % Which.grid(p).tiles().width(p.in()) == 0;
        return each(
                which,
                fits.negate(),
                (o, p) -> {
                    Tiles tiles = Which.grid(p).tiles();
                    String fewer = "{save.tp} " + fewer(o, which, fits);
                    return new Conflict(
                            "each of %d processes would hold %d inputs of %s, which are no whole groups of %d"
                                    .formatted(o.parts(), p.in(), p.name(), tiles.cols()),
                            which.equals(GROUPS)
                                    ? "try {groupSize} %s, or %s"
                                            .formatted(
                                                    group(o, which, List.of(32, 64, 128), tiles),
                                                    fewer)
                                    : "try " + fewer);
                });
    }

    /// The most processes, up to those asked for, that all layers fit; 1 where none do.
    private static int fewer(Output o, Which which, Predicate<Part> fits) {
        return largest(o.parts(), n -> which.of(o.spread(n)).stream().allMatch(fits));
    }

    /// The size nearest to what was asked for that divides the inputs of every process.
    private static String group(Output o, Which which, List<Integer> sizes, Tiles asked) {
        List<Integer> fitting =
                sizes.stream()
                        .filter(s -> which.of(o).stream().allMatch(p -> p.in() % s == 0))
                        .toList();
        int size = asked.cols() == Tiles.ALL ? Integer.MAX_VALUE : asked.cols();
        return fitting.isEmpty() ? "channel" : Integer.toString(nearest(fitting, size));
    }

    private static int nearest(List<Integer> choices, int asked) {
        return choices.stream()
                .min(Comparator.comparingLong(c -> Math.abs((long) c - asked)))
                .orElseThrow();
    }

    /// Products are cut into tiles that no process may hold a part of.
    static Rule tiles(Which which, int rows, int columns) {
        Predicate<Part> fits = p -> p.out() % rows == 0 && p.in() % columns == 0;
        return each(
                which,
                fits.negate(),
                (o, p) -> {
                    int parts = fewer(o, which, fits);
                    boolean helps = which.of(o.spread(parts)).stream().allMatch(fits);
                    return new Conflict(
                            "each of %d processes would hold %s as [%d, %d], and its kernel wants multiples of [%d, %d]"
                                    .formatted(o.parts(), p.name(), p.out(), p.in(), rows, columns),
                            helps ? "try {save.tp} " + parts : remedy(which, p));
                });
    }

    private static String remedy(Which which, Part p) {
        if (which.equals(INDEXED)) {
            return "try {actOrder} static, which keeps groups contiguous";
        }
        return which.equals(BLOCKS)
                ? "try {scheme} fp8-dynamic, which has a scale a row"
                : "leave it plain: {ignore} " + p.name().substring(p.name().lastIndexOf('.') + 1);
    }

    static Rule noIndex(Which which) {
        return each(
                which,
                Part::indexed,
                (o, p) ->
                        new Conflict(
                                "it reads no group index in %s, and %s would have one"
                                        .formatted(o.layout(), p.name()),
                                "try {save.layout} gptq, or {actOrder} static"));
    }

    static Rule wholeRows(Which which) {
        return each(
                which,
                p -> Which.grid(p).tiles().cols() != Tiles.ALL,
                (_, p) ->
                        new Conflict(
                                "its integer products want a scale a row, and %s would have %s"
                                        .formatted(p.name(), Which.grid(p).tiles().describe()),
                                "try {groupSize} channel"));
    }

    static Rule inGroups(Which which) {
        return each(
                which,
                p -> Which.grid(p).tiles().cols() == Tiles.ALL,
                (_, p) ->
                        new Conflict(
                                "it reads packed integers in groups alone, and %s would have whole rows"
                                        .formatted(p.name()),
                                "try {groupSize} 128, or {save.layout} gptq"));
    }

    static Rule oneScheme(String layout) {
        return o ->
                o.layout().equals(layout) && o.schemes().values().stream().distinct().count() > 1
                        ? List.of(
                                new Conflict(
                                        "it reads %s of one scheme alone".formatted(layout),
                                        "give all layers the same, or {save.layout} dense"))
                        : List.of();
    }

    /// transformers has the experts of a block in one tensor. Of some models it makes that of codes
    /// for each expert, of these it does not.
    static Rule wholeExperts(String... modelTypes) {
        Set<String> known = Set.of(modelTypes);
        return o ->
                known.contains(o.model().modelType())
                        ? o.all().stream()
                                .filter(p -> p.expert() && p.scheme() != null)
                                .findFirst()
                                .map(p ->
                                        new Conflict(
                                                "transformers makes no experts of codes for %s, as %s would have (vLLM does)"
                                                        .formatted(o.model().modelType(), p.name()),
                                                "leave them plain with {ignore} *.experts.*, or use"
                                                        + " {save.layout} dense"))
                                .stream()
                                .toList()
                        : List.of();
    }

    /// Layers that a reader loads as one are packed or are not, in one way.
    static Rule alike(String reader) {
        return o -> {
            Map<Conflict, Integer> blocks = new LinkedHashMap<>();
            Set<String> packed = o.schemes().keySet();
            o.model().layers().stream()
                    .flatMap(LayerSpec::bodies)
                    .flatMap(body -> body.joints().stream())
                    .forEach(joint -> {
                        List<String> names = joint.linears();
                        long some = names.stream().filter(packed::contains).count();
                        if (some > 0 && some < names.size()) {
                            blocks.merge(mix(reader, joint, packed), 1, Integer::sum);
                        } else if (names.stream().map(o.schemes()::get).distinct().count() > 1) {
                            blocks.merge(different(reader, names), 1, Integer::sum);
                        }
                    });
            return blocks.entrySet().stream()
                    .map(e ->
                            new Conflict(
                                    e.getKey().what().formatted(e.getValue()),
                                    e.getKey().nearest()))
                    .toList();
        };
    }

    private static Conflict different(String reader, List<String> names) {
        return new Conflict(
                reader
                        + " loads %s as one layer and reads one scheme for it: in %%d blocks they differ"
                                .formatted(last(names, _ -> true)),
                "give all of them the same");
    }

    /// With a place for the number of blocks.
    private static Conflict mix(String reader, BodySpec.Joint joint, Set<String> packed) {
        List<String> names = joint.linears();
        boolean called = joint.called().isPresent();
        String some = called ? "some" : last(names, packed::contains);
        String others = called ? "others" : last(names, n -> !packed.contains(n));
        return new Conflict(
                reader
                        + " loads %s as one layer and refuses a mix: in %%d blocks %s would be packed and %s not"
                                .formatted(
                                        joint.called().orElse(last(names, _ -> true)),
                                        some,
                                        others),
                "quantize all of them or none");
    }

    /// The last parts of some of the names.
    private static String last(List<String> names, Predicate<String> some) {
        return names.stream()
                .filter(some)
                .map(n -> n.substring(n.lastIndexOf('.') + 1))
                .distinct()
                .collect(Collectors.joining(", "));
    }

    /// Readers that want the heads to divide the stream's channels.
    static Rule heads() {
        return o -> {
            int heads = heads(o.model());
            int before = heads(o.source());
            boolean unusual =
                    heads > 0
                            && o.model().hidden() % heads != 0
                            && o.source().hidden() % before == 0;
            String divisors =
                    IntStream.range(1, Math.max(1, before))
                            .filter(h -> o.model().hidden() % h == 0)
                            .mapToObj(Integer::toString)
                            .collect(Collectors.joining(", "));
            return unusual
                    ? List.of(
                            new Conflict(
                                    "%d heads do not divide the %d channels of the stream, which transformers asks of some families (llama, gemma3)"
                                            .formatted(heads, o.model().hidden()),
                                    divisors + " would"))
                    : List.of();
        };
    }

    private static int heads(ModelSpec spec) {
        return spec.layers().getFirst().count(Size.HEADS);
    }

    /// The first layer of some that a reader has no kernel for.
    private static Rule each(Which which, Predicate<Part> refused, Sentence sentence) {
        return o ->
                which.of(o).stream()
                        .filter(refused)
                        .findFirst()
                        .map(p -> List.of(sentence.of(o, p)))
                        .orElse(List.of());
    }

    @FunctionalInterface
    private interface Sentence {
        Conflict of(Output output, Part part);
    }
}
