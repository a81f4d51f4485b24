// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli.options;

import picocli.CommandLine.Model.CommandSpec;

/// A command with flags that follow from declarations elsewhere.
public interface Declaring {
    void declare(CommandSpec command);
}
