// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GenerateIT {
    private static final JsonMapper JSON = JsonMapper.builder().build();

    /// What transformers continues "Once upon a time" with.
    private static final String ONCE =
            "lled the empty berry.\nAnwen had eight coins, paid one coin, and kept one coin.";

    /// A chat template of few words, as the bundled model has no other.
    private static final String TEMPLATE =
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
                    + "{% if add_generation_prompt %}assistant:{% endif %}";

    @TempDir private Path dir;

    private static Cli tale(Object... more) {
        Object[] words =
                Stream.concat(Stream.of("generate", Cli.TALE_LLAMA), Stream.of(more)).toArray();
        Cli run = Cli.run(words);
        assertThat(run.exit()).as(run.err()).isZero();
        return run;
    }

    @Test
    void greedyTextIsThatOfTransformers() {
        Cli run = tale("--prompt", "Once upon a time", "--max-tokens", "64");
        assertThat(run.out()).startsWith(ONCE).endsWith("\n");
        assertThat(run.err()).contains("64 tokens, the first after ");
        assertThat(tale("--prompt", "Once upon a time", "-q", "--stop", "ight coi").out())
                .isEqualTo(ONCE.substring(0, ONCE.indexOf("ight coi")) + "\n");
    }

    /// Where the numbers of the cache are rounded the first choices stay the same.
    @ParameterizedTest
    @ValueSource(strings = {"f32", "bf16", "f16", "int8", "fp8"})
    void cachesOfEveryTypeHoldThePrompt(String type) {
        String text =
                tale("--prompt=Once upon a time", "--max-tokens=6", "-q", "--kv-cache=" + type)
                        .out();
        assertThat(ONCE).startsWith(text.strip());
        Cli refused = Cli.run("generate", Cli.TALE_LLAMA, "--prompt=a", "--kv-cache=" + type + "x");
        assertThat(refused.exit()).isEqualTo(2);
        assertThat(refused.err()).contains("expected one of f32, f16, bf16, int8, fp8");
    }

    @Test
    void jsonHasTheTokensWithTheirProbabilities() throws IOException {
        Path file = dir.resolve("out.json");
        String text =
                tale("--prompt=Once upon a time", "--max-tokens=9", "--logprobs=2", "--json", file)
                        .out();
        JsonNode json = JSON.readTree(file.toFile());
        assertThat(json.path("text").textValue() + "\n").isEqualTo(text);
        assertThat(json.path("prompt_tokens").intValue()).isEqualTo(8);
        assertThat(json.path("tokens").intValue()).isEqualTo(9);
        assertThat(json.path("finish_reason").textValue()).isEqualTo("length");
        assertThat(json.path("logprobs")).hasSize(9);
        JsonNode first = json.path("logprobs").get(0);
        assertThat(first.path("token").textValue()).isEqualTo("lled");
        assertThat(first.path("top")).hasSize(2);
        assertThat(first.path("top").get(0).path("id")).isEqualTo(first.path("id"));
        assertThat(JSON.readTree(tale("--prompt=Once", "--max-tokens=2", "--json=-").out()))
                .isNotEmpty();
    }

    @Test
    void promptsOfAFileGiveALineEachAndWhatEachGivesAlone() throws IOException {
        Path plain = Files.writeString(dir.resolve("p.txt"), "Once upon a time\n\nThe old king\n");
        Path records =
                Files.writeString(
                        dir.resolve("p.jsonl"),
                        "{\"prompt\": \"Once upon a time\"}\n{\"prompt\": \"The old king\"}\n");
        Object[] free = {"--temperature=0.8", "--top-k=40", "--max-tokens=20"};
        Object[] drawn = with(free, "--seed=3");
        List<JsonNode> lines = lines(tale(with(drawn, "--prompts", plain)).out());
        assertThat(lines).hasSize(2);
        assertThat(lines(tale(with(drawn, "--prompts", records, "--batch=1")).out()))
                .isEqualTo(lines);
        assertThat(tale(with(drawn, "--prompt", "Once upon a time", "-q")).out())
                .isEqualTo(lines.getFirst().path("text").textValue() + "\n");
        assertThat(lines(tale(with(free, "--prompts", plain, "--seed=4")).out()))
                .isNotEqualTo(lines);
    }

    private static Object[] with(Object[] words, Object... more) {
        return Stream.concat(Stream.of(words), Stream.of(more)).toArray();
    }

    private static List<JsonNode> lines(String out) {
        return out.lines()
                .map(line -> {
                    try {
                        return JSON.readTree(line);
                    } catch (IOException e) {
                        throw new AssertionError(line, e);
                    }
                })
                .toList();
    }

    /// What is cached of a conversation is what a prompt with all of it would compute.
    @Test
    void aConversationRemembersWhatWasSaid() throws IOException {
        Path model = chatModel();
        Path json = dir.resolve("talk.json");
        Cli talk =
                Cli.saying(
                        "Where is the fox?\n\nAnd the king?\n",
                        "generate",
                        model,
                        "--chat",
                        "--system",
                        "Be brief.",
                        "--stop",
                        "\n",
                        "--max-tokens",
                        "16",
                        "-q",
                        "--json",
                        json);
        assertThat(talk.exit()).as(talk.err()).isZero();
        JsonNode messages = JSON.readTree(json.toFile()).path("messages");
        assertThat(messages.findValuesAsText("role"))
                .containsExactly("system", "user", "assistant", "user", "assistant");
        List<String> said = messages.findValuesAsText("content");
        assertThat(talk.out()).isEqualTo(said.get(2) + "\n" + said.get(4) + "\n");
        JsonNode asked = JSON.createObjectNode().set("messages", messages.deepCopy());
        ((com.fasterxml.jackson.databind.node.ArrayNode) asked.path("messages")).remove(4);
        Path file = Files.writeString(dir.resolve("asked.jsonl"), asked + "\n");
        Cli whole =
                Cli.run("generate", model, "--prompts", file, "--stop", "\n", "--max-tokens", "16");
        assertThat(whole.exit()).as(whole.err()).isZero();
        JsonNode line = JSON.readTree(whole.out());
        assertThat(line.path("text").textValue()).isEqualTo(said.get(4));
        assertThat(line.path("prompt").textValue())
                .startsWith("system: Be brief.\nuser: Where is the fox?\nassistant: ")
                .endsWith("user: And the king?\nassistant:");
        Cli once =
                Cli.run(
                        "generate",
                        model,
                        "--chat",
                        "--system",
                        "Be brief.",
                        "--stop",
                        "\n",
                        "--max-tokens",
                        "16",
                        "-q",
                        "--prompt",
                        "Where is the fox?");
        assertThat(once.out()).isEqualTo(said.get(2) + "\n");
    }

    private Path chatModel() throws IOException {
        Path model = Files.createDirectory(dir.resolve("chat"));
        try (Stream<Path> files = Files.list(Cli.TALE_LLAMA)) {
            for (Path file : (Iterable<Path>) files::iterator) {
                Files.copy(file, model.resolve(file.getFileName()));
            }
        }
        Files.writeString(model.resolve("chat_template.jinja"), TEMPLATE);
        return model;
    }

    /// What is said to hold so many tokens does, and no more.
    @Test
    void aCacheThatDoesNotFitIsRefusedWithTheTokensThatWould() {
        Object[] longest = {"--prompt=Once", "--max-tokens=1000", "--stop=."};
        failed("is too little: the least that works here is ", with(longest, "--memory=1M"));
        int least = number("least that works here is (\\d+)M", with(longest, "--memory=1M"));
        String memory = "--memory=" + (least + 1) + "M";
        String sentence =
                "holds the model and a cache of (\\d+) tokens, but 1,002 are wanted; raise it, or";
        int tokens = number(sentence, with(longest, memory)) - 2;
        assertThat(tokens).isBetween(1, 998);
        tale("--prompt=Once", "--max-tokens=" + tokens, "--stop=.", memory);
    }

    private static int number(String pattern, Object... flags) {
        Cli run = Cli.run(with(new Object[] {"generate", Cli.TALE_LLAMA}, flags));
        Matcher matcher = Pattern.compile(pattern).matcher(run.err());
        assertThat(matcher.find()).as(run.err()).isTrue();
        return Integer.parseInt(matcher.group(1));
    }

    @Test
    void anEmptyPromptBeginsWithTheModelsOwnToken() {
        assertThat(tale("--prompt", "", "--max-tokens", "4").out()).hasSizeGreaterThan(3);
    }

    @Test
    void wrongUseIsOneSentence() throws IOException {
        usage("--prompt: a text is needed");
        usage("--prompts: --prompt is given, too", "--prompt=a", "--prompts=b");
        usage("--system: only a chat template has a place for it", "--prompt=a", "--system=b");
        usage("--stop: is empty", "--prompt=a", "--stop=");
        usage(
                "--temperature: temperature is -1.0, expected at least 0",
                "--prompt=a",
                "--temperature=-1");
        usage(
                "--top-p: topP is 1.5, expected more than 0",
                "--prompt=a",
                "--temperature=1",
                "--top-p=1.5");
        usage("set --temperature, too", "--prompt=a", "--top-k=40");
        usage("--max-tokens: maxTokens is 0, expected at least 1", "--prompt=a", "--max-tokens=0");
        failed("has no chat template; leave --chat out", "--prompt=a", "--chat");
        failed("has no chat template; leave --chat out", "--chat");
        failed("1,024 positions for an answer; shorten it", "--prompt", "word ".repeat(1100));
        failed("none.txt: no such file", "--prompts=none.txt");
        Path empty = Files.writeString(dir.resolve("empty.txt"), "\n \n");
        failed("empty.txt: holds no prompt", "--prompts", empty);
        Path wrong = Files.writeString(dir.resolve("wrong.jsonl"), "{\"prompt\": 1}\n");
        failed(
                "wrong.jsonl: line 1: expected an object with a string under \"prompt\"",
                "--prompts",
                wrong);
        Path named = Files.writeString(dir.resolve("named.txt"), "{\"prompt\": \"a\"}\n");
        failed("named.txt: holds JSON records", "--prompts", named);
        failed("would overwrite the prompts", "--prompts", named, "--json", named);
    }

    private static void usage(String sentence, Object... flags) {
        refused(ExitCode.USAGE, sentence, flags);
    }

    private static void failed(String sentence, Object... flags) {
        refused(ExitCode.FAILED, sentence, flags);
    }

    private static void refused(int exit, String sentence, Object... flags) {
        Cli run =
                Cli.run(
                        Stream.concat(Stream.of("generate", Cli.TALE_LLAMA), Stream.of(flags))
                                .toArray());
        assertThat(run.err()).contains("llmc: ", sentence);
        assertThat(run.exit()).as(run.err()).isEqualTo(exit);
        assertThat(run.out()).isEmpty();
    }
}
