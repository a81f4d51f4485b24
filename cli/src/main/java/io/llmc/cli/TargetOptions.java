// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import java.util.List;
import picocli.CommandLine.Option;

/// Mixin: which linear layers a method works on.
final class TargetOptions {
    @Option(
            names = "--targets",
            paramLabel = "GLOBS",
            description =
                    "Linear layers to work on, by name, as down_proj,*.self_attn.*, or by a regular"
                            + " expression, as re:.*mlp.* (default: all of the blocks).")
    private String targets;

    @Option(
            names = "--ignore",
            paramLabel = "GLOBS",
            description = "Linear layers to leave as they are, named in the same way.")
    private String ignore;

    List<Setting> toSettings() {
        return List.of(
                Setting.list("targets", targets, "--targets"),
                Setting.list("ignore", ignore, "--ignore"));
    }
}
