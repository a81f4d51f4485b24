// SPDX-License-Identifier: Apache-2.0
/// What a method implements, and all that it may touch: passes, the sequences that go through
/// blocks, sums over them.
package io.llmc.pipeline.pass;
