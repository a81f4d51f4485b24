// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.pipeline.reader.Target;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.stream.Stream;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/// Mixin: where and how the result is written.
public final class OutputOptions {
    @Option(
            names = {"-o", "--output"},
            required = true,
            paramLabel = "OUT",
            description = "Directory to make; it gets its name when all is written and verified.")
    private String output;

    @Mixin private SaveOptions save;

    @Option(
            names = "--target",
            paramLabel = "NAME",
            completionCandidates = Targets.class,
            description =
                    "Who has to be able to read the result: ${COMPLETION-CANDIDATES}. What it would"
                            + " refuse is refused before any work.")
    private String target;

    @Option(
            names = "--tp",
            paramLabel = "N",
            description =
                    "Processes, or GPUs, over which --target spreads every layer (default: 1).")
    private Integer parts;

    /// Whether all weights are to be plain.
    public boolean toDense() {
        return save.toDense();
    }

    public List<Setting> toSettings() {
        return Stream.concat(
                        Stream.concat(
                                Stream.of(new Setting("output", output, "--output")),
                                save.toSettings().stream()),
                        Stream.of(
                                new Setting("save.target", target, "--target"),
                                new Setting("save.tp", parts, "--tp")))
                .toList();
    }

    static final class Targets implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return Arrays.stream(Target.values()).map(Target::spelling).iterator();
        }
    }
}
