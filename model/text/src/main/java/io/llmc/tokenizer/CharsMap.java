// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Base64;
import java.util.BitSet;
import java.util.Deque;

/// The normalization table of SentencePiece: its size in bytes, a double array trie of 32-bit units
/// from UTF-8 to places in what follows, which are strings with a zero behind each. The native
/// library follows it without looking where it leads.
final class CharsMap {
    private static final int LONGEST = 1 << 24;

    private CharsMap() {}

    /// Null for a table that leads nowhere else.
    static String problem(String base64) {
        if (base64.length() > LONGEST) {
            return "longer than %,d characters".formatted(LONGEST);
        }
        byte[] bytes;
        try {
            bytes = Base64.getDecoder().decode(base64);
        } catch (IllegalArgumentException e) {
            return "not in Base64";
        }
        long size = bytes.length < 4 ? -1 : littleEndian(bytes).getInt() & 0xffffffffL;
        if (size < 0 || size % 4 != 0 || size > bytes.length - 4L) {
            return "its trie does not fit in its %,d bytes".formatted(bytes.length);
        }
        byte[] strings = Arrays.copyOfRange(bytes, (int) size + 4, bytes.length);
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(strings));
        } catch (CharacterCodingException e) {
            return "its strings are not UTF-8";
        }
        int[] units = new int[(int) size / 4];
        ByteBuffer.wrap(bytes, 4, (int) size)
                .order(ByteOrder.LITTLE_ENDIAN)
                .asIntBuffer()
                .get(units);
        return leads(units, strings) ? null : "its trie leads out of it";
    }

    private static ByteBuffer littleEndian(byte[] bytes) {
        return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    /// Whether whatever text is looked up, every unit and string on the way is there.
    private static boolean leads(int[] units, byte[] strings) {
        if (units.length == 0) {
            return false;
        }
        BitSet seen = new BitSet();
        Deque<Integer> open = new ArrayDeque<>();
        open.add(offset(units[0]));
        while (!open.isEmpty()) {
            int node = open.remove();
            if (seen.get(node)) {
                continue;
            }
            seen.set(node);
            for (int c = 1; c < 256; c++) {
                int next = node ^ c;
                if (next >= units.length) {
                    return false;
                }
                if ((units[next] & 0x800000ff) != c) {
                    continue;
                }
                int child = next ^ offset(units[next]);
                boolean leaf = (units[next] >>> 8 & 1) == 1;
                if (leaf && !isString(child, units, strings)) {
                    return false;
                }
                open.add(child);
            }
        }
        return true;
    }

    private static int offset(int unit) {
        return unit >>> 10 << ((unit & 1 << 9) >>> 6);
    }

    private static boolean isString(int unit, int[] units, byte[] strings) {
        if (unit < 0 || unit >= units.length) {
            return false;
        }
        int at = units[unit] & 0x7fffffff;
        return at <= strings.length && (at == strings.length || (strings[at] & 0xc0) != 0x80);
    }
}
