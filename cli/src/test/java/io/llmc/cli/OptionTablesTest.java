// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.llmc.cli.terminal.Spelling;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Recipe;
import io.llmc.pipeline.Step;
import io.llmc.pipeline.pass.PassFactory;
import io.llmc.prune.PrunePasses;
import io.llmc.quantize.QuantizePasses;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

/// docs/options.md is what the declarations say; -Dllmc.renew=true writes it.
class OptionTablesTest {
    private static final Path FILE = Cli.TESTDATA.resolveSibling("docs/options.md");

    @Test
    void documentationIsWhatIsDeclared() throws IOException {
        if (Boolean.getBoolean("llmc.renew")) {
            Files.writeString(FILE, document());
        }
        assertThat(Files.readString(FILE)).isEqualTo(document());
    }

    private static String document() {
        StringBuilder text =
                new StringBuilder(
                        """
                        # Options

                        What each method and step can be told: its key in a [recipe](recipes.md), the flag for it, and what holds
                        where it is not given. A key without a flag is reached by `--set key=value`.
                        """);
        section(text, "calibration", "the text that methods calibrate with", Recipe.CALIBRATION);
        for (PassFactory method : QuantizePasses.ALL) {
            section(text, "quantize: " + method.name(), method.summary(), method.options());
        }
        for (PassFactory method : PrunePasses.ALL) {
            section(text, "prune: " + method.name(), method.summary(), method.options());
        }
        for (Step.Factory step : Wiring.system(OutputStream.nullOutputStream()).steps()) {
            if (!step.options().isEmpty()) {
                section(text, step.name(), step.summary(), step.options());
            }
        }
        return text.toString();
    }

    private static void section(
            StringBuilder text, String name, String summary, List<Option<?>> options) {
        text.append("\n## ").append(name).append("\n\n").append(summary).append(".\n");
        if (options.isEmpty()) {
            return;
        }
        text.append("\n| key | flag | default | |\n|---|---|---|---|\n");
        for (Option<?> o : options) {
            text.append(
                    "| `%s` | %s | %s | %s |\n"
                            .formatted(
                                    o.key(),
                                    o.flag() == null
                                            ? ""
                                            : "`%s`"
                                                    .formatted(
                                                            (o.flag() + " " + o.label()).strip()),
                                    o.spelledDefault(),
                                    Spelling.asKeys(o.text())));
        }
    }
}
