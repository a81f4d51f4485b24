// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import io.llmc.backend.AttentionSpec.Heads;
import io.llmc.backend.AttentionSpec.Reach;
import io.llmc.backend.CacheOp.Pages;
import io.llmc.backend.CacheOp.Run;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/// Storing into pages, and attention over them: every type, pages in any order, several sequences
/// of different lengths in a pass, single queries and prompts.
final class PageCases {
    static final List<DType> TYPES =
            List.of(DType.F32, DType.F16, DType.BF16, DType.I8, DType.F8_E4M3);

    private PageCases() {}

    /// @param tokens of a page
    /// @param sinks whether there are some; slopes too
    record Shape(Heads heads, List<Reach> reaches, int tokens, float softcap, boolean sinks) {
        int rows() {
            return reaches.stream().mapToInt(Reach::length).sum();
        }

        int pages() {
            return reaches.stream().mapToInt(r -> Math.ceilDiv(r.keys(), tokens)).sum();
        }

        AttentionSpec spec() {
            return new AttentionSpec(heads, reaches.getFirst(), 0.3f, softcap);
        }
    }

    static void all(List<OpCases.Case> cases) {
        for (DType type : TYPES) {
            for (boolean turned : new boolean[] {false, true}) {
                cases.add(
                        new OpCases.Case(
                                CacheOp.StorePages.class,
                                "storePages %s, turned %s".formatted(type, turned),
                                0,
                                a -> store(a, type, turned)));
            }
            for (boolean turned : new boolean[] {false, true}) {
                cases.add(
                        new OpCases.Case(
                                CacheOp.GatherPages.class,
                                "gatherPages %s, turned %s".formatted(type, turned),
                                0,
                                a -> gather(a, type, turned)));
            }
            for (Shape s : shapes()) {
                cases.add(
                        new OpCases.Case(
                                CacheOp.PagedAttention.class,
                                "pagedAttention %s, %s".formatted(type, s),
                                OpCases.SUMS,
                                a -> attention(a, type, s)));
            }
        }
    }

    private static List<Shape> shapes() {
        Heads grouped = new Heads(6, 2, 24, 24);
        Heads wide = new Heads(4, 1, 160, 160);
        Heads mixed = new Heads(3, 3, 40, 17);
        return List.of(
                new Shape(new Heads(1, 1, 8, 8), List.of(step(1)), 32, 0, false),
                new Shape(grouped, List.of(step(33), step(250), step(96)), 32, 0, false),
                new Shape(grouped, List.of(step(97)), 16, 5, true),
                new Shape(grouped, List.of(new Reach(5, 100, 20, 0), step(64)), 48, 0, true),
                new Shape(wide, List.of(new Reach(1, 200, 37, 0)), 32, 0, false),
                new Shape(wide, List.of(new Reach(40, 150, 0, 0), step(7)), 32, 0, true),
                new Shape(mixed, List.of(new Reach(70, 70, 0, 0)), 32, 0, false),
                new Shape(mixed, List.of(new Reach(90, 230, 25, 0)), 32, 3, true),
                new Shape(mixed, List.of(new Reach(3, 130, 0, 50)), 96, 0, false),
                new Shape(mixed, List.of(new Reach(80, 190, 0, 64)), 32, 0, false),
                // So many keys of so few heads that threads share them.
                new Shape(new Heads(6, 2, 24, 24), List.of(step(1700)), 32, 0, true),
                new Shape(wide, List.of(new Reach(2, 900, 777, 0), step(40)), 48, 3, false));
    }

    static Reach step(int keys) {
        return new Reach(1, keys, 0, 0);
    }

    /// Pages in a random order; none where no query looks.
    static List<Run> runs(Operands a, Shape s) {
        List<Integer> free = new ArrayList<>();
        for (int i = 0; i < s.pages(); i++) {
            free.add(a.random().nextInt(free.size() + 1), i);
        }
        List<Run> runs = new ArrayList<>();
        int row = 0;
        for (Reach reach : s.reaches) {
            int[] table = new int[Math.ceilDiv(reach.keys(), s.tokens)];
            for (int i = 0; i < table.length; i++) {
                boolean seen = (i + 1) * s.tokens > reach.first(0);
                table[i] = seen ? free.removeLast() : -1;
            }
            runs.add(new Run(row, reach, a.of(DType.I32, i -> table[(int) i], table.length)));
            row += reach.length();
        }
        return runs;
    }

    private static Op store(Operands a, DType type, boolean turned) {
        Shape s =
                new Shape(
                        new Heads(3, 3, 20, 20),
                        List.of(new Reach(5, 40, 0, 0), step(17), new Reach(33, 33, 0, 0)),
                        16,
                        0,
                        false);
        List<Run> runs = runs(a, s);
        long blocks = 3L * s.pages();
        Tensor data = a.written(type, _ -> 0, blocks, 20L * s.tokens);
        Tensor scales = eight(type) ? a.written(DType.F32, _ -> 1, blocks, s.tokens) : null;
        // A row of zeros has a scale, too.
        Tensor x = a.of(DType.F32, i -> i < 20 ? 0 : a.random().nextGaussian(), s.rows(), 60);
        return new CacheOp.StorePages(new Pages(data, scales, s.tokens, turned), x, runs);
    }

    /// What a window has left behind lies nowhere.
    private static Op gather(Operands a, DType type, boolean turned) {
        Reach reach = new Reach(5, 77, 20, 0);
        Shape s = new Shape(new Heads(3, 3, 20, 20), List.of(reach), 16, 0, false);
        Pages pages = pages(a, type, s, 20, turned);
        return new CacheOp.GatherPages(a.out(reach.keys(), 60), pages, runs(a, s).getFirst());
    }

    private static boolean eight(DType type) {
        return type == DType.I8 || type == DType.F8_E4M3;
    }

    static Pages pages(Operands a, DType type, Shape s, int width, boolean turned) {
        long blocks = (long) s.heads.kv() * s.pages();
        // Codes of E4M3 that are no numbers are left out.
        Tensor data =
                a.of(
                        type,
                        _ ->
                                type == DType.F8_E4M3
                                        ? a.random().nextInt(0x7f)
                                        : type == DType.I8
                                                ? a.random().nextInt(255) - 127
                                                : a.random().nextGaussian(),
                        blocks,
                        (long) width * s.tokens);
        double size = type == DType.I8 ? 0.01 : 0.05;
        Tensor scales =
                eight(type)
                        ? a.of(
                                DType.F32,
                                _ -> size * (0.5 + a.random().nextDouble()),
                                blocks,
                                s.tokens)
                        : null;
        return new Pages(data, scales, s.tokens, turned);
    }

    private static Op attention(Operands a, DType type, Shape s) {
        Heads heads = s.heads;
        return new CacheOp.PagedAttention(
                a.out(s.rows(), heads.outWidth()),
                a.normal(s.rows(), heads.queryWidth()),
                pages(a, type, s, heads.dim(), true),
                pages(a, type, s, heads.valueDim(), false),
                runs(a, s),
                s.sinks ? a.normal(DType.F32, 1, heads.count()) : null,
                s.sinks ? a.of(DType.F32, i -> 0.8 * Math.pow(2, -i), heads.count()) : null,
                s.spec());
    }
}
