// SPDX-License-Identifier: Apache-2.0
/// The command line: flags and recipe files in, tables and exit codes out. The only package that
/// knows picocli, YAML and the terminal.
package io.llmc.cli;
