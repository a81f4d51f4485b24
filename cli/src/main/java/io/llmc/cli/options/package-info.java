// SPDX-License-Identifier: Apache-2.0
/// Groups of options that commands share.
package io.llmc.cli.options;
