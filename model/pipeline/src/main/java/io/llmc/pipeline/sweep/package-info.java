// SPDX-License-Identifier: Apache-2.0
/// One trip over the blocks: planned, run, written, verified.
package io.llmc.pipeline.sweep;
