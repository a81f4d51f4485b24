// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.SplittableRandom;

/// Changes texts and bytes anywhere.
final class Texts {
    private Texts() {}

    static String changed(String seed, SplittableRandom random) {
        StringBuilder text = new StringBuilder(seed);
        for (int left = 1 + Trees.geometric(random); left > 0; left--) {
            int from = random.nextInt(text.length() + 1);
            int to = Math.min(text.length(), from + 1 + random.nextInt(1 + random.nextInt(30)));
            switch (random.nextInt(7)) {
                case 0 -> text.delete(from, to);
                case 1 -> text.insert(from, text.substring(from, to));
                case 2 -> text.insert(random.nextInt(text.length() + 1), text.substring(from, to));
                case 3 -> text.replace(from, to, Poison.literal(random));
                case 4 -> text.insert(from, character(random));
                case 5 -> text.setLength(from);
                default -> text.replace(from, to, Poison.word(random));
            }
        }
        return text.toString();
    }

    private static String character(SplittableRandom random) {
        String some = "{}[]()<>\"'\\:,;|-+*/%#&!?@=~^$ \t\r\n\0\u00e9\u2028\ufeff0";
        return String.valueOf(some.charAt(random.nextInt(some.length())))
                .repeat(random.nextInt(20) == 0 ? 100 : 1);
    }

    static byte[] changed(byte[] seed, SplittableRandom random) {
        byte[] bytes = seed.clone();
        for (int left = 1 + Trees.geometric(random); left > 0 && bytes.length > 0; left--) {
            int from = random.nextInt(bytes.length);
            int length = Math.min(bytes.length - from, 1 + random.nextInt(64));
            switch (random.nextInt(7)) {
                case 0 -> bytes[from] ^= (byte) (1 << random.nextInt(8));
                case 1 -> bytes[from] = (byte) random.nextInt(256);
                case 2 -> Arrays.fill(bytes, from, from + length, (byte) 0xff);
                case 3 -> Arrays.fill(bytes, from, from + length, (byte) 0);
                case 4 -> bytes = Arrays.copyOf(bytes, from);
                case 5 -> bytes = spliced(bytes, from, length);
                default -> bytes = Arrays.copyOf(bytes, bytes.length + length);
            }
        }
        return bytes;
    }

    /// The part stands there twice.
    private static byte[] spliced(byte[] bytes, int from, int length) {
        byte[] more = Arrays.copyOf(bytes, bytes.length + length);
        System.arraycopy(bytes, from, more, from + length, bytes.length - from);
        return more;
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
