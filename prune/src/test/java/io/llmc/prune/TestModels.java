// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.llmc.formats.HfConfig;
import io.llmc.formats.TestFiles;
import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.model.ModelSpec;
import io.llmc.model.arch.Architectures;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/// The tiny random checkpoints that tests run on.
public final class TestModels {
    private static final Path ORACLES = TestFiles.shared("oracles/architectures");

    private TestModels() {}

    public static Stream<Path> tiny() {
        return TestFiles.directories(TestFiles.testdata(), "tiny-");
    }

    /// The same and those that lie beside the checkout, in every family that llmc knows; their
    /// folder itself where it is absent, so that [#require] shows what is skipped.
    public static Stream<Path> all() {
        Stream<Path> oracles =
                Files.isDirectory(ORACLES)
                        ? TestFiles.directories(ORACLES, "").filter(TestModels::isKnown)
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

    private static boolean isKnown(Path model) {
        String type = HfConfig.read(model.resolve("config.json")).modelType();
        return Architectures.ALL.stream().anyMatch(a -> a.modelTypes().contains(type));
    }

    public static ModelSpec spec(Path model) {
        try (Checkpoint c = Checkpoint.open(model)) {
            return Architectures.specOf(c);
        }
    }
}
