// SPDX-License-Identifier: Apache-2.0
package io.llmc.cli;

import picocli.CommandLine.Model.CommandSpec;

/// A command with flags that follow from declarations elsewhere.
interface Declaring {
    void declare(CommandSpec command);
}
