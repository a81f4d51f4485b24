// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import io.llmc.model.arch.Models;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/// Mixin: what models are read as whose `model_type` llmc does not know.
public final class TreatAs {
    private static final String FLAG = "--treat-as";

    @Option(
            names = FLAG,
            paramLabel = "TYPE",
            description =
                    "Read models of a model_type that llmc does not know as this one, where every"
                            + " key of the config and every tensor fits.")
    private String type;

    public Setting toSetting() {
        return new Setting("treatAs", type, FLAG);
    }

    /// @param main the model that the command is about
    public Models toModels(Path main) {
        return new Models(main, type);
    }
}
