// SPDX-License-Identifier: Apache-2.0
/// What the programs that read an output ask of it.
package io.llmc.pipeline.reader;
