// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import java.util.Arrays;
import java.util.function.Function;

/// Encodes a long text in pieces that give the ids of the whole: the native encoder takes about a
/// thousand bytes of memory a token.
///
/// A cut lies before whitespace, best before a line end, and is tried before it is used: with
/// [#CONTEXT] characters on both sides, the ids of the left side must be the first ids of both
/// sides together. The piece after it is then encoded with its left context in front, whose ids are
/// dropped, so that a tokenizer that treats the beginning of a text differently is right too. Byte
/// pair merges, word pieces and pre-tokenizer patterns look no further than a few words; where no
/// cut passes, the rest stays one piece.
final class Seams {
    /// Characters of a piece, about.
    private static final int PIECE = 1 << 17;

    private static final int CONTEXT = 1 << 11;
    private static final int TRIES = 16;

    private final Function<String, int[]> encoder;

    /// @param position in the text
    /// @param context where its left context begins
    /// @param ids of that context
    private record Cut(int position, int context, int[] ids) {}

    Seams(Function<String, int[]> encoder) {
        this.encoder = encoder;
    }

    /// @param enough stops after the piece that makes the ids this many
    int[] encode(String text, int enough) {
        int[] ids = new int[Math.min(text.length() / 4 + 16, 1 << 16)];
        int count = 0;
        Cut from = new Cut(0, 0, new int[0]);
        while (from.position < text.length() && count < enough) {
            Cut to = next(text, from.position);
            int[] piece = encoder.apply(text.substring(from.context, to.position));
            if (!startsWith(piece, from.ids)) {
                return encoder.apply(text);
            }
            int more = piece.length - from.ids.length;
            if (count + more > ids.length) {
                ids = Arrays.copyOf(ids, Math.max(count + more, ids.length + (ids.length >> 1)));
            }
            System.arraycopy(piece, from.ids.length, ids, count, more);
            count += more;
            from = to;
        }
        return Arrays.copyOf(ids, count);
    }

    /// The first cut a piece further on that passes; the end of the text where there is none.
    private Cut next(String text, int from) {
        int earliest = from + PIECE;
        if (earliest + PIECE / 2 < text.length()) {
            for (boolean lineEnds : new boolean[] {true, false}) {
                int tries = 0;
                int last = Math.min(text.length() - 1, earliest + PIECE);
                for (int p = earliest; p < last && tries < TRIES; p++) {
                    if (isCandidate(text, p, lineEnds)) {
                        Cut cut = tryCut(text, p);
                        if (cut != null) {
                            return cut;
                        }
                        tries++;
                    }
                }
            }
        }
        return new Cut(text.length(), 0, new int[0]);
    }

    private static boolean isCandidate(String text, int p, boolean lineEnds) {
        char c = text.charAt(p);
        if (!Character.isWhitespace(c) || Character.isWhitespace(text.charAt(p - 1))) {
            return false;
        }
        int end = p;
        while (lineEnds && end < text.length() && Character.isWhitespace(text.charAt(end))) {
            if (text.charAt(end) == '\n') {
                return true;
            }
            end++;
        }
        return !lineEnds;
    }

    /// Null where the ids left of the cut are not those of the uncut text.
    private Cut tryCut(String text, int p) {
        int left = whole(text, Math.max(0, p - CONTEXT));
        int right = whole(text, Math.min(text.length(), p + CONTEXT));
        int[] before = encoder.apply(text.substring(left, p));
        int[] both = encoder.apply(text.substring(left, right));
        return startsWith(both, before) ? new Cut(p, left, before) : null;
    }

    /// The same place, or one earlier where it would tear a surrogate pair.
    private static int whole(String text, int at) {
        boolean torn =
                at > 0
                        && at < text.length()
                        && Character.isLowSurrogate(text.charAt(at))
                        && Character.isHighSurrogate(text.charAt(at - 1));
        return torn ? at - 1 : at;
    }

    private static boolean startsWith(int[] ids, int[] prefix) {
        return ids.length >= prefix.length
                && Arrays.equals(ids, 0, prefix.length, prefix, 0, prefix.length);
    }
}
