// SPDX-License-Identifier: Apache-2.0
package io.llmc.fuzz;

import com.fasterxml.jackson.databind.JsonNode;
import io.llmc.evaluation.tasks.BuiltInTasks;
import io.llmc.evaluation.tasks.TaskReading;
import io.llmc.formats.FormatException;
import io.llmc.tokenizer.TextFiles;
import io.llmc.tokenizer.Tokenizer;
import io.llmc.tokenizer.Vocabulary;
import io.llmc.tokenizer.jinja.Template;
import io.llmc.tokenizer.jinja.TemplateException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;

/// Texts, and what says how they become tokens.
final class TextKinds {
    private TextKinds() {}

    static List<Kind> all() {
        return List.of(
                new Kind("template", 250, 256, TextKinds::templates),
                new Kind("chat", 30, 64, TextKinds::chats),
                new Kind("data", 30, 64, TextKinds::data),
                new Kind("task", 30, 256, TextKinds::tasks),
                new Kind("vocabulary", 30, 64, TextKinds::vocabularies));
    }

    private static Kind.Reader templates(Path work) throws IOException {
        List<String> seeds = new ArrayList<>();
        try (Stream<Path> files = Files.list(Fuzz.TESTDATA.resolve("chat-templates"))) {
            for (Path file : files.filter(f -> f.toString().endsWith(".jinja")).sorted().toList()) {
                seeds.add(Files.readString(file));
            }
        }
        Map<String, Object> variables =
                Map.of(
                        "messages",
                        List.of(
                                Map.of("role", "system", "content", "Be brief."),
                                Map.of("role", "user", "content", "Hi\u00e9 \ud83d\ude00"),
                                Map.of("role", "assistant", "content", "a b  c", "x", 1L)),
                        "bos_token",
                        "<s>",
                        "eos_token",
                        "</s>",
                        "add_generation_prompt",
                        false);
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                String text =
                        random.nextBoolean()
                                ? Templates.make(random)
                                : Texts.changed(seeds.get(random.nextInt(seeds.size())), random);
                return FileInput.of(
                        "chat_template.jinja",
                        random.nextInt(8) == 0 ? Texts.changed(text, random) : text);
            }

            @Override
            public void read(Kind.Input input) {
                byte[] bytes = ((FileInput) input).files().get("chat_template.jinja");
                try {
                    Template.parse(new String(bytes, StandardCharsets.UTF_8))
                            .render(variables, 100);
                } catch (TemplateException e) {
                    throw new FormatException(work, e.getMessage());
                }
            }
        };
    }

    /// A directory with a good tokenizer.
    private static Path directory(Path work) throws IOException {
        Path model = Fuzz.TESTDATA.resolve("tale-llama");
        for (String name : List.of("tokenizer.json", "tokenizer_config.json")) {
            Files.copy(model.resolve(name), work.resolve(name));
        }
        return work;
    }

    /// Conversations, under a template that prints whatever it is given.
    private static Kind.Reader chats(Path work) throws IOException {
        Path directory = directory(work);
        Files.writeString(
                directory.resolve("chat_template.jinja"),
                "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ m | tojson }}{% endfor %}");
        JsonNode line =
                Trees.JSON.readTree(
                        """
                        {"messages": [
                          {"role": "user", "content": "Who?"},
                          {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]},
                          {"role": "tool", "content": [{"type": "text", "text": "x"}]}],
                         "tools": [{"type": "function"}]}
                        """);
        JsonNode settings =
                Trees.JSON.readTree(directory.resolve("tokenizer_config.json").toFile());
        return new OfTexts(
                directory,
                random ->
                        random.nextInt(4) > 0
                                ? FileInput.of("t.jsonl", lines(line, random))
                                : new FileInput(
                                        Map.of(
                                                "t.jsonl",
                                                Texts.utf8(line + "\n"),
                                                "tokenizer_config.json",
                                                Texts.utf8(Trees.changed(settings, random)))));
    }

    private static String lines(JsonNode line, SplittableRandom random) {
        return line + "\n" + Trees.changed(line, random) + "\n";
    }

    private static Kind.Reader data(Path work) throws IOException {
        List<String> names =
                List.of(
                        "t.txt",
                        "t.jsonl",
                        "t.json",
                        "t.ndjson",
                        "t.parquet",
                        "t.txt.gz",
                        "t",
                        "t.csv");
        JsonNode line =
                Trees.JSON.readTree("{\"text\": \"Once upon a time \\u00e9\\ud83d\\ude00\"}");
        byte[] text =
                Texts.utf8("\ufeffOnce upon a time, \u00e9\ud83d\ude00\r\n there was <s> one.\n");
        return new OfTexts(
                directory(work),
                random -> {
                    byte[] bytes =
                            switch (random.nextInt(4)) {
                                case 0 ->
                                        Texts.utf8(
                                                "["
                                                        + line
                                                        + ","
                                                        + Trees.changed(line, random)
                                                        + "]");
                                case 1 -> Texts.changed(text, random);
                                case 2 ->
                                        new String(text, StandardCharsets.UTF_8)
                                                .getBytes(StandardCharsets.UTF_16);
                                default -> Texts.utf8(lines(line, random));
                            };
                    return FileInput.of(
                            names.get(random.nextInt(names.size())),
                            random.nextInt(4) == 0 ? Texts.changed(bytes, random) : bytes);
                });
    }

    /// A task's file, and its items.
    private static Kind.Reader tasks(Path work) throws IOException {
        List<String> tasks =
                Stream.concat(
                                BuiltInTasks.NAMES.stream().map(TaskReading::builtIn),
                                Stream.of(
                                        Files.readString(
                                                Fuzz.TESTDATA.resolve("tasks/riddles.yaml"))))
                        .toList();
        List<JsonNode> items = new ArrayList<>();
        for (String name : List.of("piqa.jsonl", "riddles.jsonl")) {
            Path file = Fuzz.TESTDATA.resolve("tasks").resolve(name);
            items.add(Trees.JSON.readTree(Files.readAllLines(file).getFirst()));
        }
        int own = tasks.size() - 1;
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                boolean fits = random.nextInt(4) != 0;
                String task = tasks.get(fits ? own : random.nextInt(tasks.size()));
                JsonNode item = items.get(fits ? 1 : random.nextInt(items.size()));
                byte[] data = Texts.utf8(lines(item, random));
                return new FileInput(
                        Map.of(
                                "t.yaml",
                                Texts.utf8(
                                        random.nextInt(2) == 0
                                                ? task
                                                : Texts.changed(task, random)),
                                "t.jsonl",
                                random.nextInt(4) == 0 ? Texts.changed(data, random) : data));
            }

            @Override
            public void read(Kind.Input input) throws IOException {
                input.save(work);
                TaskReading.questions(work.resolve("t.yaml"), work.resolve("t.jsonl"));
            }
        };
    }

    /// Reads the one text file among the files of a case.
    private record OfTexts(Path directory, Maker maker, Tokenizer tokenizer)
            implements Kind.Reader {
        interface Maker {
            FileInput make(SplittableRandom random);
        }

        @SuppressWarnings("MustBeClosed") // lives as long as the process
        OfTexts(Path directory, Maker maker) {
            this(directory, maker, Tokenizer.open(directory.resolve("tokenizer.json")));
        }

        @Override
        public Kind.Input make(SplittableRandom random) {
            return maker.make(random);
        }

        @Override
        public void read(Kind.Input input) throws Exception {
            input.save(directory);
            for (String name : ((FileInput) input).files().keySet()) {
                if (name.startsWith("t.") || name.equals("t")) {
                    TextFiles.tokens(directory.resolve(name), tokenizer);
                }
            }
        }
    }

    private static Kind.Reader vocabularies(Path work) throws IOException {
        JsonNode seed = Trees.JSON.readTree(Tokenizers.SMALL);
        return new Kind.Reader() {
            @Override
            public Kind.Input make(SplittableRandom random) {
                return FileInput.of("tokenizer.json", Trees.changed(seed, random));
            }

            @Override
            public void read(Kind.Input input) throws Exception {
                input.save(work);
                Vocabulary.read(work.resolve("tokenizer.json"));
            }
        };
    }
}
