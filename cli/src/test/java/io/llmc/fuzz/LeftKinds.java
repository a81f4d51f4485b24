// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.cli.Pages;
import io.llmc.cli.Verdict;
import io.llmc.distill.CacheReading;
import io.llmc.evaluation.kld.KldBase;
import io.llmc.evaluation.kld.KldBaseWriter;
import io.llmc.evaluation.kld.KldShape;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.Stream;

/// What llmc itself left behind, and somebody changed.
final class LeftKinds {
    private LeftKinds() {}

    static List<Kind> all() {
        return List.of(
                new Kind("cache", 30, 64, LeftKinds::caches),
                new Kind("base", 60, 64, LeftKinds::bases),
                new Kind("report", 2, 256, LeftKinds::reports),
                new Kind("resume", 1, 1024, LeftKinds::resumed));
    }

    /// A model's predictions in llama.cpp's form.
    private static Kind.Reader bases(Path work) throws IOException {
        KldShape shape = new KldShape(8, 33, 2);
        Path file = work.resolve("base.kld");
        try (KldBaseWriter out = KldBaseWriter.create(file, shape, new int[(int) shape.ids()])) {
            for (int row = 0; row < shape.rows(); row++) {
                float[] logits = new float[shape.vocabulary()];
                for (int i = 0; i < logits.length; i++) {
                    logits[i] = i % 7;
                }
                out.append(logits);
            }
            out.finish();
        }
        byte[] whole = Files.readAllBytes(file);
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                byte[] bytes = whole;
                if (random.nextInt(3) > 0) {
                    bytes = bytes.clone();
                    int at = 8 + 4 * random.nextInt(8);
                    int value = random.nextBoolean() ? random.nextInt() : random.nextInt(-2, 40);
                    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putInt(at, value);
                }
                return FileInput.of(
                        file.getFileName().toString(),
                        random.nextInt(3) > 0 ? Texts.changed(bytes, random) : bytes);
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(work);
                try (KldBase base = KldBase.open(file)) {
                    for (long row = 0; row < base.shape().rows(); row++) {
                        base.read(row);
                    }
                }
            }
        };
    }

    /// What llmc says of a model that it made, in a report.
    private static Kind.Reader reports(Path work) throws IOException {
        Path model = Files.createDirectory(work.resolve("model"));
        for (String file : List.of("config.json", "model.safetensors")) {
            Files.copy(Fuzz.TESTDATA.resolve("tiny-llama").resolve(file), model.resolve(file));
        }
        JsonNode said =
                Trees.JSON.readTree(
                        """
                        {"llmc_version": "1", "recipe": {"model": "m", "steps": [{"sweep": [{"rtn": {"bits": 4}}]}]},
                         "presets": {"w4a16": [{"gptq": {"bits": 4}}]},
                         "input_sha256": {"config.json": "00"},
                         "calibration": {"windows": 2, "length": 64, "ids_sha256": "00"},
                         "modules": [{"module": "model.layers.0.mlp.up_proj", "relative_error": 0.01},
                                     {"module": "model.layers.1.mlp.up_proj", "relative_error": 0.02,
                                      "warnings": ["odd"]}]}
                        """);
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                return FileInput.of("llmc.json", Trees.changed(said, random));
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(model);
                Pages.of(model);
            }
        };
    }

    /// A teacher's predictions.
    private static Kind.Reader caches(Path work) throws IOException {
        Path cache = work.resolve("cache");
        Path text = Files.writeString(work.resolve("text.txt"), "Once upon a time. ".repeat(60));
        try {
            Verdict.run(
                    "distill",
                    "--teacher=" + Fuzz.TESTDATA.resolve("tale-llama"),
                    "--data=" + text,
                    "--length=16",
                    "--top-k=4",
                    "--save-teacher=" + cache,
                    "-q");
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
        JsonNode header = Trees.JSON.readTree(cache.resolve("cache.json").toFile());
        byte[] tokens = Files.readAllBytes(cache.resolve("tokens.bin"));
        byte[] logits = Files.readAllBytes(cache.resolve("logits.bin"));
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                int which = random.nextInt(6);
                return new FileInput(
                        Map.of(
                                "cache.json",
                                Texts.utf8(
                                        which < 4
                                                ? Trees.changed(header, random)
                                                : header.toString()),
                                "tokens.bin",
                                which == 4 ? Texts.changed(tokens, random) : tokens,
                                "logits.bin",
                                which == 5 ? Texts.changed(logits, random) : logits));
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(cache);
                CacheReading.verify(cache);
            }
        };
    }

    /// The unfinished work of a run, one of whose files is changed. Whatever it says, the run that
    /// continues ends in a sentence, or in the bytes of one that was never interrupted.
    private static Kind.Reader resumed(Path work) throws IOException {
        Path place = Files.createDirectory(work.resolve("place"));
        String[] words = {
            "quantize",
            Fuzz.TESTDATA.resolve("tiny-llama").toString(),
            "--output=" + place.resolve("out"),
            "--method=rtn",
            "--group-size=32"
        };
        Verdict.interrupt("verifying ...", words);
        Map<String, byte[]> left = snapshot(place);
        Path weights = place.resolve("out").resolve("model.safetensors");
        try {
            Verdict.run(words);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
        byte[] right = Files.readAllBytes(weights);
        List<String> names = List.copyOf(left.keySet());
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                Map<String, byte[]> files = new TreeMap<>(left);
                boolean any = random.nextInt(4) == 0;
                String name =
                        names.stream()
                                .filter(n -> !any && n.contains("journal"))
                                .findFirst()
                                .orElse(names.get(random.nextInt(names.size())));
                files.compute(name, (_, bytes) -> line(bytes, random));
                return new FileInput(files);
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                clear(place);
                input.save(place);
                Verdict.run(words);
                if (!Arrays.equals(right, Files.readAllBytes(weights))) {
                    throw new IllegalStateException("the output has other bytes");
                }
            }
        };
    }

    /// One line changed as JSON where it is JSON; else bytes.
    private static byte[] line(byte[] bytes, SplittableRandom random) {
        String[] lines = new String(bytes, StandardCharsets.UTF_8).split("\n", -1);
        int i = random.nextInt(lines.length);
        if (lines[i].startsWith("{") && random.nextInt(4) > 0) {
            try {
                lines[i] = Trees.changed(Trees.JSON.readTree(lines[i]), random);
                return Texts.utf8(String.join("\n", lines));
            } catch (JsonProcessingException e) {
                // Not JSON after all.
            }
        }
        return Texts.changed(bytes, random);
    }

    private static Map<String, byte[]> snapshot(Path directory) throws IOException {
        Map<String, byte[]> files = new TreeMap<>();
        try (Stream<Path> all = Files.walk(directory)) {
            for (Path file : all.filter(Files::isRegularFile).toList()) {
                files.put(directory.relativize(file).toString(), Files.readAllBytes(file));
            }
        }
        return files;
    }

    /// Deletes all that a directory holds.
    static void clear(Path directory) {
        try (Stream<Path> all = Files.walk(directory)) {
            for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
                if (!path.equals(directory)) {
                    Files.delete(path);
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
