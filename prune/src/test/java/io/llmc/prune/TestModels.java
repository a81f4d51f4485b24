// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.SelfAttentionSpec;
import io.llmc.model.arch.Architectures;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/// The tiny random checkpoints that tests run on.
public final class TestModels {
    private static final Path ORACLES = TestFiles.shared("oracles/architectures");

    /// Folders of it with every way in which blocks of dense and routed models are built; a long
    /// test has all of them.
    private static final List<String> KINDS =
            List.of(
                    "gemma3_text",
                    "gpt2_hub_names",
                    "gpt_neox",
                    "gpt_neox_sequential",
                    "llama",
                    "llama_bias",
                    "llama_rope_llama3",
                    "mistral",
                    "mixtral",
                    "phi3",
                    "phi3_longrope",
                    "qwen2",
                    "qwen3");

    private TestModels() {}

    /// Those whose blocks all attend: what has no attention is cut in tests of its own.
    public static Stream<Path> tiny() {
        return TestFiles.directories(TestFiles.testdata(), "tiny-").filter(TestModels::attends);
    }

    private static boolean attends(Path model) {
        return spec(model).layers().stream()
                .allMatch(layer -> layer.body(SelfAttentionSpec.class).isPresent());
    }

    /// The same and some of those that lie beside the checkout; their folder itself where it is
    /// absent, so that [#require] shows what is skipped.
    public static Stream<Path> all() {
        Stream<Path> oracles =
                Files.isDirectory(ORACLES)
                        ? KINDS.stream().map(TestModels::oracle)
                        : Stream.of(ORACLES);
        return Stream.concat(tiny(), oracles);
    }

    /// Skips a test whose model is not there.
    public static Path require(Path model) {
        assumeTrue(Files.exists(model.resolve("config.json")), "no " + model + " here: skipped");
        return model;
    }

    static Path oracle(String name) {
        return ORACLES.resolve(name);
    }

    public static ModelSpec spec(Path model) {
        try (Checkpoint c = Checkpoint.open(model)) {
            return Architectures.specOf(c);
        }
    }
}
