// SPDX-License-Identifier: Apache-2.0
package io.llmc.formats.gguf;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/// Writes small GGUF files, right ones and wrong ones.
public final class GgufBytes {
    private final Map<String, byte[]> keys = new LinkedHashMap<>();
    private final Map<String, Tensor> tensors = new LinkedHashMap<>();
    private int version = 3;
    private int alignment = 32;

    /// @param dims as in the file: the innermost first
    private record Tensor(int type, long[] dims, long shift, byte[] data) {}

    /// A llama of one block: 4 query heads and 2 of keys and values, of 4 channels each.
    public static GgufBytes llama() {
        return new GgufBytes()
                .text("general.architecture", "llama")
                .u32("llama.block_count", 1)
                .u32("llama.context_length", 64)
                .u32("llama.embedding_length", 32)
                .u32("llama.feed_forward_length", 32)
                .u32("llama.attention.head_count", 4)
                .u32("llama.attention.head_count_kv", 2)
                .u32("llama.attention.key_length", 4)
                .f32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
                .f32("llama.rope.freq_base", 10000)
                .f32("token_embd.weight", new long[] {32, 3}, ramp(96));
    }

    public List<String> keys() {
        return List.copyOf(keys.keySet());
    }

    static float[] ramp(int length) {
        float[] values = new float[length];
        for (int i = 0; i < length; i++) {
            values[i] = i;
        }
        return values;
    }

    public GgufBytes version(int value) {
        version = value;
        return this;
    }

    public GgufBytes alignment(int value) {
        alignment = value;
        return u32("general.alignment", value);
    }

    public GgufBytes without(String keyOrTensor) {
        keys.remove(keyOrTensor);
        tensors.remove(keyOrTensor);
        return this;
    }

    public GgufBytes u32(String key, int value) {
        return key(key, 4, bytes(4).putInt(value));
    }

    public GgufBytes f32(String key, float value) {
        return key(key, 6, bytes(4).putFloat(value));
    }

    public GgufBytes text(String key, String value) {
        return key(key, 8, string(value));
    }

    public GgufBytes texts(String key, List<String> values) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(bytes(12).putInt(8).putLong(values.size()).array());
        values.forEach(v -> out.writeBytes(string(v).array()));
        return key(key, 9, ByteBuffer.wrap(out.toByteArray()));
    }

    /// A value of any type, right or not.
    public GgufBytes key(String key, int type, ByteBuffer value) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes(bytes(4).putInt(type).array());
        out.writeBytes(value.array());
        keys.put(key, out.toByteArray());
        return this;
    }

    public GgufBytes f32(String name, long[] dims, float... values) {
        ByteBuffer data = bytes(4 * values.length);
        for (float v : values) {
            data.putFloat(v);
        }
        return tensor(name, 0, dims, data);
    }

    public GgufBytes tensor(String name, int type, long[] dims, ByteBuffer data) {
        return tensor(name, type, dims, 0, data);
    }

    /// @param shift of the offset from where the tensor lies
    public GgufBytes tensor(String name, int type, long[] dims, long shift, ByteBuffer data) {
        tensors.put(name, new Tensor(type, dims, shift, data.array()));
        return this;
    }

    public byte[] toBytes() {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.writeBytes("GGUF".getBytes(StandardCharsets.US_ASCII));
        out.writeBytes(
                bytes(20).putInt(version).putLong(tensors.size()).putLong(keys.size()).array());
        keys.forEach((key, value) -> {
            out.writeBytes(string(key).array());
            out.writeBytes(value);
        });
        ByteArrayOutputStream data = new ByteArrayOutputStream();
        tensors.forEach((name, t) -> {
            pad(data);
            out.writeBytes(string(name).array());
            out.writeBytes(bytes(4).putInt(t.dims.length).array());
            for (long d : t.dims) {
                out.writeBytes(bytes(8).putLong(d).array());
            }
            out.writeBytes(bytes(12).putInt(t.type).putLong(data.size() + t.shift).array());
            data.writeBytes(t.data);
        });
        pad(out);
        out.writeBytes(data.toByteArray());
        return out.toByteArray();
    }

    private void pad(ByteArrayOutputStream out) {
        while (out.size() % alignment != 0) {
            out.write(0);
        }
    }

    static ByteBuffer bytes(int size) {
        return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static ByteBuffer string(String text) {
        byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
        return bytes(8 + utf8.length).putLong(utf8.length).put(utf8);
    }
}
