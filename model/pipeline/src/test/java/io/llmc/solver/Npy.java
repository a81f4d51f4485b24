// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/// A C-ordered little-endian NPY v1 file of f4, f8 or u1.
public record Npy(int rows, int cols, float[] values) {
    public static Npy read(Path file) {
        try {
            ByteBuffer b = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
            int header = b.getShort(8);
            String text = new String(b.array(), 10, header, StandardCharsets.US_ASCII);
            String[] dims = text.replaceAll("(?s).*'shape': \\(([^)]*)\\).*", "$1").split(",", -1);
            int rows = Integer.parseInt(dims[0].strip());
            int cols =
                    dims.length > 1 && !dims[1].isBlank() ? Integer.parseInt(dims[1].strip()) : 1;
            float[] values = new float[rows * cols];
            boolean wide = text.contains("'<f8'");
            boolean octets = text.contains("u1'");
            for (int i = 0; i < values.length; i++) {
                int at = 10 + header;
                values[i] =
                        wide
                                ? (float) b.getDouble(at + 8 * i)
                                : octets ? b.get(at + i) & 0xff : b.getFloat(at + 4 * i);
            }
            return new Npy(rows, cols, values);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
