// SPDX-License-Identifier: Apache-2.0
package io.llmc.backend;

import static io.llmc.backend.ReferenceOps.get;
import static io.llmc.backend.ReferenceOps.set;

import io.llmc.backend.CacheOp.Pages;
import io.llmc.backend.CacheOp.Run;
import io.llmc.tensor.Codes;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;

/// Pages of a cache, token by token; their attention is that of rows that are read from them.
final class ReferencePages {
    private ReferencePages() {}

    static void run(CacheOp op) {
        switch (op) {
            case CacheOp.StorePages store -> store(store);
            case CacheOp.GatherPages gather -> gather(gather);
            case CacheOp.PagedAttention attention -> attention(attention);
        }
    }

    /// Where a channel of a token's head lies.
    private static long at(Pages pages, Run run, int heads, int token, int head, int channel) {
        int page = (int) get(run.table(), token / pages.tokens());
        int t = token % pages.tokens();
        long block = (long) page * heads + head;
        long within =
                pages.turned()
                        ? (long) channel * pages.tokens() + t
                        : (long) t * pages.width() + channel;
        return block * pages.data().cols() + within;
    }

    private static long scaleAt(Pages pages, Run run, int heads, int token, int head) {
        int page = (int) get(run.table(), token / pages.tokens());
        return ((long) page * heads + head) * pages.tokens() + token % pages.tokens();
    }

    private static void store(CacheOp.StorePages op) {
        Pages pages = op.pages();
        int width = pages.width();
        int heads = (int) (op.x().cols() / width);
        for (Run run : op.runs()) {
            int first = run.reach().keys() - run.reach().length();
            for (int t = 0; t < run.reach().length(); t++) {
                for (int h = 0; h < heads; h++) {
                    float most = 0;
                    for (int c = 0; c < width; c++) {
                        double x = get(op.x(), run.row() + t, (long) h * width + c);
                        most = Math.max(most, (float) Math.abs(x));
                    }
                    float scale =
                            pages.scales() == null ? 1 : Pages.scale(most, pages.data().dtype());
                    if (pages.scales() != null) {
                        set(pages.scales(), scaleAt(pages, run, heads, first + t, h), scale);
                    }
                    for (int c = 0; c < width; c++) {
                        float x = (float) get(op.x(), run.row() + t, (long) h * width + c);
                        set(
                                pages.data(),
                                at(pages, run, heads, first + t, h, c),
                                code(x / scale, pages.data().dtype()));
                    }
                }
            }
        }
    }

    private static void gather(CacheOp.GatherPages op) {
        Tensor rows = rows(op.pages(), op.run(), op.heads());
        for (long i = 0; i < rows.shape().size(); i++) {
            set(
                    op.out(),
                    i / rows.cols(),
                    i % rows.cols(),
                    get(rows, i / rows.cols(), i % rows.cols()));
        }
    }

    private static double code(float x, DType type) {
        return switch (type) {
            case I8 -> new Codes.Ints(8, true).nearest(x);
            case F8_E4M3 -> Codes.Floats.E4M3.code(x);
            default -> x;
        };
    }

    private static double value(Pages pages, Run run, int heads, int token, int head, int channel) {
        double code = get(pages.data(), at(pages, run, heads, token, head, channel));
        double scale =
                pages.scales() == null
                        ? 1
                        : get(pages.scales(), scaleAt(pages, run, heads, token, head));
        return (float)
                (scale
                        * (pages.data().dtype() == DType.F8_E4M3
                                ? Codes.Floats.E4M3.value((int) code & 0xff)
                                : code));
    }

    private static void attention(CacheOp.PagedAttention op) {
        AttentionSpec.Heads heads = op.spec().heads();
        for (Run run : op.runs()) {
            int end = run.row() + run.reach().length();
            ReferenceAttention.forward(
                    new ForwardOp.Attention(
                            op.out().rows(run.row(), end),
                            op.q().rows(run.row(), end),
                            rows(op.keys(), run, heads.kv()),
                            rows(op.values(), run, heads.kv()),
                            op.sinks(),
                            op.slopes(),
                            op.spec().with(run.reach())));
        }
    }

    /// Zeros where a token lies nowhere.
    static Tensor rows(Pages pages, Run run, int heads) {
        int keys = run.reach().keys();
        int width = pages.width();
        Tensor all =
                Tensor.of(
                        Arena.ofAuto().allocate(4L * keys * heads * width, 4),
                        DType.F32,
                        keys,
                        (long) heads * width);
        for (int s = 0; s < keys; s++) {
            if (get(run.table(), s / pages.tokens()) < 0) {
                continue;
            }
            for (int h = 0; h < heads; h++) {
                for (int c = 0; c < width; c++) {
                    set(all, s, (long) h * width + c, value(pages, run, heads, s, h, c));
                }
            }
        }
        return all;
    }
}
