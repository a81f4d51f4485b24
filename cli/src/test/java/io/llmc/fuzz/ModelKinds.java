// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.cli.Verdict;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.formats.gguf.GgufBytes;
import io.llmc.model.arch.Architectures;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.Stream;

/// What stands in a model directory, as far as opening and `inspect` read it.
final class ModelKinds {
    private static final String CONFIG = "config.json";
    private static final String WEIGHTS = "model.safetensors";

    private ModelKinds() {}

    static List<Kind> all() {
        return List.of(
                new Kind("config", 160, 64, ModelKinds::configs),
                new Kind("quantization", 60, 64, ModelKinds::quantizations),
                new Kind("index", 50, 64, ModelKinds::indexes),
                new Kind("header", 330, 64, ModelKinds::headers),
                new Kind("gguf", 100, 64, ModelKinds::ggufs));
    }

    /// The bundled models: a directory for each architecture.
    static List<Path> models() throws IOException {
        try (Stream<Path> all = Files.list(Fuzz.TESTDATA)) {
            return all.filter(d -> d.getFileName().toString().startsWith("tiny-"))
                    .filter(d -> Files.exists(d.resolve(WEIGHTS)))
                    .sorted()
                    .toList();
        }
    }

    /// A reader of directories in which one or two files change.
    private record InDirectories(List<Path> directories, Maker maker, Looking looking)
            implements Kind.Reader {
        interface Maker {
            Map<String, byte[]> make(int directory, SplittableRandom random);
        }

        interface Looking {
            void look(Path directory) throws Exception;
        }

        /// @param directory of all that is not changed
        private record Change(Path directory, Map<String, byte[]> files) implements Kind.Input {
            @Override
            public void save(Path to) throws IOException {
                try (Stream<Path> rest = Files.list(directory)) {
                    for (Path file : rest.toList()) {
                        Path copy = to.resolve(file.getFileName().toString());
                        if (Files.isRegularFile(file) && !Files.exists(copy)) {
                            Files.copy(file, copy);
                        }
                    }
                }
                new FileInput(files).save(to);
            }
        }

        @Override
        public Kind.Input make(SplittableRandom random) {
            int i = random.nextInt(directories.size());
            return new Change(directories.get(i), maker.make(i, random));
        }

        @Override
        public void read(Kind.Input input) throws Exception {
            Change change = (Change) input;
            new FileInput(change.files).save(change.directory);
            looking.look(change.directory);
        }
    }

    private static void inspect(Path directory) throws Exception {
        try (Checkpoint c = Checkpoint.open(directory)) {
            Verdict.describe(c);
            Architectures.specOf(c);
        }
    }

    private static JsonNode json(Path file) throws IOException {
        return Trees.JSON.readTree(file.toFile());
    }

    private static Kind.Reader configs(Path work) throws IOException {
        List<Path> directories = new ArrayList<>();
        List<JsonNode> seeds = new ArrayList<>();
        for (Path model : models()) {
            Path directory = Files.createDirectory(work.resolve(model.getFileName().toString()));
            Files.copy(model.resolve(WEIGHTS), directory.resolve(WEIGHTS));
            JsonNode plain = json(model.resolve(CONFIG));
            for (String scaling : scalings()) {
                ObjectNode seed = plain.deepCopy();
                seed.set("rope_scaling", Trees.JSON.readTree(scaling));
                seeds.add(seed);
                directories.add(directory);
            }
        }
        return new InDirectories(
                directories,
                (i, random) -> Map.of(CONFIG, Texts.utf8(Trees.changed(seeds.get(i), random))),
                ModelKinds::inspect);
    }

    private static List<String> scalings() {
        return List.of(
                "null",
                "{\"rope_type\":\"linear\",\"factor\":2.0}",
                "{\"type\":\"dynamic\",\"factor\":2.0}",
                "{\"rope_type\":\"yarn\",\"factor\":4.0,\"beta_fast\":32,\"beta_slow\":1,"
                        + "\"original_max_position_embeddings\":64}",
                "{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
                        + "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":64}",
                "{\"type\":\"longrope\",\"short_factor\":[1,1,1,1,1,1,1,1],"
                        + "\"long_factor\":[2,2,2,2,2,2,2,2]}");
    }

    /// Every dialect, as llmc writes it, and the file that older GPTQ tools leave.
    private static Kind.Reader quantizations(Path work) throws IOException {
        List<Path> directories = new ArrayList<>();
        List<JsonNode> seeds = new ArrayList<>();
        for (String layout : List.of("compressed-tensors", "awq", "gptq_p", "gptq", "gptq_v2")) {
            for (boolean symmetric : List.of(true, false)) {
                Path directory = work.resolve(layout + symmetric);
                quantize(directory, layout, symmetric);
                seeds.add(json(directory.resolve(CONFIG)));
                directories.add(directory);
            }
        }
        int packed = directories.size() - 1;
        Path older = Files.createDirectory(work.resolve("older"));
        Files.copy(directories.get(packed).resolve(WEIGHTS), older.resolve(WEIGHTS));
        ObjectNode config = seeds.get(packed).deepCopy();
        seeds.add(config.remove("quantization_config"));
        directories.add(older);
        Files.writeString(older.resolve(CONFIG), Trees.text(config));
        return new InDirectories(
                directories,
                (i, random) -> quantization(seeds.get(i), random),
                ModelKinds::readPacked);
    }

    private static void quantize(Path directory, String layout, boolean symmetric) {
        List<String> words =
                new ArrayList<>(
                        List.of(
                                "quantize",
                                Fuzz.TESTDATA.resolve("tiny-llama").toString(),
                                "--output=" + directory,
                                "--method=rtn",
                                "--group-size=32",
                                "--layout=" + layout,
                                "-q"));
        if (!symmetric) {
            words.add("--asymmetric");
        }
        try {
            Verdict.run(words.toArray(String[]::new));
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private static Map<String, byte[]> quantization(JsonNode seed, SplittableRandom random) {
        if (!seed.has("quantization_config")) {
            return Map.of("quantize_config.json", Texts.utf8(Trees.changed(seed, random)));
        }
        ObjectNode config = seed.deepCopy();
        String changed = Trees.changed(config.remove("quantization_config"), random);
        String rest = Trees.text(config);
        return Map.of(
                CONFIG,
                Texts.utf8(
                        rest.substring(0, rest.length() - 1)
                                + ",\"quantization_config\":"
                                + changed
                                + "}"));
    }

    private static void readPacked(Path directory) throws Exception {
        try (Checkpoint c = Checkpoint.open(directory);
                TensorReader reader = c.reader()) {
            Verdict.describe(c);
            reader.weight("model.layers.0.self_attn.q_proj");
            reader.weight("model.layers.1.mlp.down_proj");
        }
    }

    private static Kind.Reader indexes(Path work) throws IOException {
        Path model = Fuzz.TESTDATA.resolve("tiny-llama");
        Path directory = work.resolve("shards");
        try {
            Verdict.run(
                    "prune",
                    model.toString(),
                    "--output=" + directory,
                    "--method=magnitude",
                    "--shard-size=80K",
                    "-q");
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
        String index = WEIGHTS + ".index.json";
        JsonNode seed = json(directory.resolve(index));
        return new InDirectories(
                List.of(directory),
                (_, random) -> Map.of(index, Texts.utf8(Trees.changed(seed, random))),
                ModelKinds::inspect);
    }

    /// The header of a small file, mutated as JSON, and the bytes of all of it.
    private static Kind.Reader headers(Path work) throws IOException {
        Path file = work.resolve(WEIGHTS);
        byte[] data = new byte[96];
        JsonNode seed =
                Trees.JSON.readTree(
                        """
                        {"__metadata__": {"format": "pt"},
                         "a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]},
                         "b": {"dtype": "BF16", "shape": [4, 4], "data_offsets": [32, 64]},
                         "c": {"dtype": "I32", "shape": [], "data_offsets": [64, 68]},
                         "d": {"dtype": "F16", "shape": [2, 0], "data_offsets": [68, 68]},
                         "e": {"dtype": "U8", "shape": [28], "data_offsets": [68, 96]}}
                        """);
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                byte[] all = safetensors(Texts.utf8(Trees.changed(seed, random)), data);
                return FileInput.of(
                        WEIGHTS, random.nextInt(4) == 0 ? Texts.changed(all, random) : all);
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(work);
                try (Checkpoint c = Checkpoint.ofFile(file);
                        TensorReader reader = c.reader()) {
                    c.names().forEach(reader::tensor);
                }
            }
        };
    }

    /// Keys and tensors of a small llama, some with other types and numbers, and all its bytes.
    private static Kind.Reader ggufs(Path work) {
        Path file = work.resolve("model.gguf");
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                GgufBytes seed =
                        GgufBytes.llama()
                                .text("tokenizer.ggml.model", "gpt2")
                                .text("tokenizer.ggml.pre", "llama-bpe")
                                .texts("tokenizer.ggml.tokens", List.of("a", "b", "ab", "<s>"))
                                .texts("tokenizer.ggml.merges", List.of("a b"))
                                .u32("tokenizer.ggml.bos_token_id", 3);
                for (String norm : List.of("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")) {
                    seed.tensor(norm + ".weight", 0, new long[] {32}, ByteBuffer.allocate(128));
                }
                Map<String, Integer> rows =
                        new TreeMap<>(
                                Map.of(
                                        "attn_q",
                                        16,
                                        "attn_k",
                                        8,
                                        "attn_v",
                                        8,
                                        "ffn_gate",
                                        32,
                                        "ffn_up",
                                        32,
                                        "ffn_down",
                                        32));
                rows.forEach((part, out) ->
                        seed.tensor(
                                "blk.0." + part + ".weight",
                                part.startsWith("ffn") ? 8 : 1,
                                new long[] {32, out},
                                ByteBuffer.allocate(part.startsWith("ffn") ? 34 * out : 64 * out)));
                seed.tensor(
                        "blk.0.attn_output.weight",
                        30,
                        new long[] {16, 32},
                        ByteBuffer.allocate(1024));
                for (int left = Trees.geometric(random); left > 0; left--) {
                    change(seed, random);
                }
                byte[] all = seed.toBytes();
                return FileInput.of(
                        "model.gguf", random.nextInt(3) == 0 ? Texts.changed(all, random) : all);
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(work);
                try (Checkpoint c = Checkpoint.open(file);
                        TensorReader reader = c.reader()) {
                    Verdict.describe(c);
                    Architectures.specOf(c);
                    c.names().forEach(reader::tensor);
                    c.text("tokenizer.json");
                    reader.weight("model.layers.0.mlp.up_proj");
                }
            }
        };
    }

    private static void change(GgufBytes seed, SplittableRandom random) {
        List<String> keys = seed.keys();
        String key =
                keys.isEmpty() || random.nextInt(8) == 0
                        ? Poison.word(random)
                        : keys.get(random.nextInt(keys.size()));
        List<String> tensors = List.of("token_embd.weight", "blk.0.attn_q.weight", "output.weight");
        String tensor = tensors.get(random.nextInt(tensors.size()));
        ByteBuffer bytes = ByteBuffer.allocate(random.nextInt(80));
        for (int i = 0; i < bytes.capacity(); i++) {
            bytes.put(i, (byte) (random.nextBoolean() ? 0 : random.nextInt()));
        }
        long[] dims = new long[random.nextInt(6)];
        for (int i = 0; i < dims.length; i++) {
            dims[i] = random.nextInt(4) == 0 ? random.nextLong() : 1L << random.nextInt(8);
        }
        switch (random.nextInt(6)) {
            case 0 -> seed.without(key);
            case 1 -> seed.without(tensor);
            case 2 -> seed.key(key, random.nextInt(16), bytes);
            case 3 -> seed.u32(key, random.nextInt(4) == 0 ? random.nextInt() : random.nextInt(9));
            case 4 -> seed.text(key, Poison.word(random));
            default -> seed.tensor(tensor, random.nextInt(34), dims, bytes);
        }
    }

    static byte[] safetensors(byte[] header, byte[] data) {
        return ByteBuffer.allocate(8 + header.length + data.length)
                .order(ByteOrder.LITTLE_ENDIAN)
                .putLong(header.length)
                .put(header)
                .put(data)
                .array();
    }
}
