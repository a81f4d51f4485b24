// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.llmc.cli.Verdict;
import io.llmc.prune.PrunePasses;
import io.llmc.quantize.QuantizePasses;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.Stream;

/// Recipes, words on the command line, and whole commands on changed models.
final class CommandKinds {
    private static final String OUT = "out";

    /// Options that name what is written, which must lie where the case may write.
    private static final Set<String> WRITTEN = Set.of("--output", "--json", "--save-teacher");

    private CommandKinds() {}

    static List<Kind> all() {
        return List.of(
                new Kind("recipe", 60, 64, CommandKinds::recipes),
                new Kind("words", 2, 256, CommandKinds::words),
                new Kind("commands", 2, 1024, CommandKinds::commands));
    }

    private static List<String> sampleRecipes() {
        List<String> samples = new ArrayList<>();
        QuantizePasses.ALL.forEach(pass -> samples.add(pass.sample()));
        PrunePasses.ALL.forEach(pass -> samples.add(pass.sample()));
        samples.addAll(Verdict.sampleSteps());
        return samples;
    }

    /// Read as far as `--print-recipe` does.
    private static Kind.Reader recipes(Path work) {
        List<String> texts = sampleRecipes();
        List<JsonNode> trees =
                texts.stream()
                        .map(Verdict::recipeTree)
                        .map(Trees.JSON::<JsonNode>valueToTree)
                        .toList();
        Path file = work.resolve("recipe.yaml");
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                int i = random.nextInt(texts.size());
                return FileInput.of(
                        "recipe.yaml",
                        random.nextInt(3) == 0
                                ? Texts.changed(texts.get(i), random)
                                : Trees.changed(trees.get(i), random));
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(work);
                Verdict.readRecipe(file);
            }
        };
    }

    /// A command with a few of its words changed; nothing is written.
    private record Words(List<String> words) implements Kind.Input {
        @Override
        public void save(Path directory) throws IOException {
            Files.writeString(directory.resolve("words.txt"), String.join("\n", words) + "\n");
        }
    }

    private static Kind.Reader words(Path work) {
        String model = Fuzz.TESTDATA.resolve("tiny-llama").toString();
        String data = Fuzz.TESTDATA.resolve("tale-llama/test.txt").toString();
        String out = "--output=" + work.resolve(OUT);
        Map<String, List<String>> bases = new TreeMap<>();
        bases.put(
                "quantize",
                List.of(model, out, "--calib-data=" + data, "--group-size=32", "--dry-run"));
        bases.put("prune", List.of(model, out, "--calib-data=" + data, "--dry-run"));
        bases.put(
                "distill",
                List.of(model, out, "--data=" + data, "--teacher=" + model, "--dry-run"));
        List<String> commands = List.copyOf(bases.keySet());
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                String command = commands.get(random.nextInt(commands.size()));
                List<String> words = new ArrayList<>(List.of(command));
                words.addAll(bases.get(command));
                List<String> options = Verdict.options(command);
                for (int left = 1 + Trees.geometric(random); left > 0; left--) {
                    String option = options.get(random.nextInt(options.size()));
                    words.removeIf(word -> word.startsWith(option + "="));
                    String value = value(random);
                    words.add(
                            option
                                    + "="
                                    + (WRITTEN.contains(option) ? work + "/x" + value : value));
                }
                if (random.nextInt(4) == 0) {
                    words.set(1, Texts.changed(words.get(1), random));
                }
                words.add("--print-recipe");
                return new Words(words);
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                List<String> words = ((Words) input).words;
                Verdict.run(words.toArray(String[]::new));
                List<String> planned = words.subList(0, words.size() - 1);
                if (planned.contains("--dry-run")) {
                    Verdict.run(planned.toArray(String[]::new));
                }
            }
        };
    }

    private static String value(SplittableRandom random) {
        String literal = Poison.literal(random);
        return random.nextInt(3) == 0
                ? Poison.word(random)
                : literal.startsWith("\"") ? literal.substring(1, literal.length() - 1) : literal;
    }

    /// @param words `MODEL` and `OUT` stand for directories
    private record Command(List<String> words, int model, Map<String, byte[]> files)
            implements Kind.Input {
        @Override
        public void save(Path directory) throws IOException {
            Files.writeString(directory.resolve("words.txt"), String.join(" ", words) + "\n");
            new FileInput(files).save(directory);
        }
    }

    private static Kind.Reader commands(Path work) throws IOException {
        List<Path> models = new ArrayList<>(ModelKinds.models());
        Path place = Files.createDirectory(work.resolve("place"));
        Path text = work.resolve("text.jsonl");
        Files.writeString(
                text, "{\"text\": \"Once upon a time there was a fox who lived.\"}\n".repeat(40));
        models.add(withTokenizer(work.resolve("tale")));
        List<List<String>> commands =
                Stream.of(
                                "inspect MODEL -v",
                                "quantize MODEL --output=OUT --method=rtn --group-size=16 -q",
                                "quantize MODEL --output=OUT --method=rtn --group-size=16"
                                        + " --layout=gptq --asymmetric --bits=3 -q",
                                "quantize MODEL --output=OUT --method=gptq --group-size=16 -q"
                                        + " --calib-data=TEXT --calib-samples=2 --calib-length=16",
                                "prune MODEL --output=OUT --method=magnitude -q",
                                "prune MODEL --output=OUT --method=layers --layers=1 -q",
                                "prune MODEL --output=OUT --method=width --ffn=0.5 -q"
                                        + " --multiple-of=1 --calib-data=TEXT --calib-samples=2"
                                        + " --calib-length=16",
                                "eval MODEL --data=TEXT --window=16 --max-windows=2",
                                "eval MODEL --data=TEXT --window=16 --max-windows=2"
                                        + " --against=MODEL",
                                "distill MODEL --output=OUT --teacher=MODEL --data=TEXT --steps=1"
                                        + " -q --batch=1 --length=16 --holdout=1")
                        .map(line -> List.of(line.split(" ", -1)))
                        .toList();
        List<Map<String, byte[]>> seeds = new ArrayList<>();
        for (Path model : models) {
            Map<String, byte[]> files = new TreeMap<>();
            for (String name :
                    List.of(
                            "config.json",
                            "model.safetensors",
                            "tokenizer_config.json",
                            "tokenizer.json")) {
                if (Files.exists(model.resolve(name))) {
                    files.put(name, Files.readAllBytes(model.resolve(name)));
                }
            }
            seeds.add(files);
        }
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                List<String> command = commands.get(random.nextInt(commands.size()));
                boolean reads =
                        command.contains("--data=TEXT") || command.contains("--calib-data=TEXT");
                int model = reads ? models.size() - 1 : random.nextInt(models.size());
                return new Command(command, model, changed(seeds.get(model), random));
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                Command command = (Command) input;
                LeftKinds.clear(place);
                Path directory = Files.createDirectory(place.resolve("model"));
                new FileInput(command.files).save(directory);
                Verdict.run(
                        command.words.stream()
                                .map(word ->
                                        word.replace("MODEL", directory.toString())
                                                .replace("OUT", place.resolve(OUT).toString())
                                                .replace("TEXT", text.toString()))
                                .toArray(String[]::new));
            }
        };
    }

    /// One small enough for many runs, whose tokenizer has as many ids as the model.
    private static Path withTokenizer(Path directory) throws IOException {
        Files.createDirectory(directory);
        Path tiny = Fuzz.TESTDATA.resolve("tiny-llama");
        Path tale = Fuzz.TESTDATA.resolve("tale-llama");
        for (String name : List.of("config.json", "model.safetensors")) {
            Files.copy(tiny.resolve(name), directory.resolve(name));
        }
        Files.copy(
                tale.resolve("tokenizer_config.json"), directory.resolve("tokenizer_config.json"));
        int vocabulary =
                Trees.JSON.readTree(tiny.resolve("config.json").toFile()).get("vocab_size").asInt();
        ObjectNode tokenizer =
                (ObjectNode) Trees.JSON.readTree(tale.resolve("tokenizer.json").toFile());
        ObjectNode model = (ObjectNode) tokenizer.get("model");
        ObjectNode vocab = model.putObject("vocab");
        JsonNode all =
                Trees.JSON.readTree(tale.resolve("tokenizer.json").toFile()).at("/model/vocab");
        all.properties().stream()
                .filter(token -> token.getValue().asInt() < vocabulary)
                .forEach(token -> vocab.set(token.getKey(), token.getValue()));
        model.putArray("merges");
        Files.writeString(directory.resolve("tokenizer.json"), Trees.text(tokenizer));
        return directory;
    }

    private static Map<String, byte[]> changed(Map<String, byte[]> seed, SplittableRandom random) {
        Map<String, byte[]> files = new TreeMap<>(seed);
        switch (random.nextInt(6)) {
            case 0 -> files.compute("model.safetensors", (_, all) -> values(all, random));
            case 1 -> files.compute("model.safetensors", (_, all) -> header(all, random));
            case 2 ->
                    files.computeIfPresent("tokenizer_config.json", (_, all) -> tree(all, random));
            default -> files.compute("config.json", (_, all) -> tree(all, random));
        }
        return files;
    }

    private static byte[] tree(byte[] json, SplittableRandom random) {
        try {
            return Texts.utf8(Trees.changed(Trees.JSON.readTree(json), random));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static byte[] header(byte[] all, SplittableRandom random) {
        int length = (int) ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN).getLong();
        byte[] text = tree(Arrays.copyOfRange(all, 8, 8 + length), random);
        return ModelKinds.safetensors(text, Arrays.copyOfRange(all, 8 + length, all.length));
    }

    /// Numbers that are none, or too large, somewhere among the weights.
    private static byte[] values(byte[] all, SplittableRandom random) {
        byte[] bytes = all.clone();
        int start = 8 + (int) ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN).getLong();
        for (int left = 1 + random.nextInt(8); left > 0; left--) {
            int at = start + random.nextInt((bytes.length - start) / 4) * 4;
            int[] some = {0x7fc07fc0, 0x7f807f80, 0x7f7f7f7f, 0xff80ff80, 0x00010001, 0};
            ByteBuffer.wrap(bytes)
                    .order(ByteOrder.LITTLE_ENDIAN)
                    .putInt(at, some[random.nextInt(some.length)]);
        }
        return random.nextInt(3) == 0 ? Texts.changed(bytes, random) : bytes;
    }
}
