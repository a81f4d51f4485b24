// SPDX-License-Identifier: Apache-2.0
/// What a terminal shows: tables, figures, progress, streams.
package io.llmc.cli.terminal;
