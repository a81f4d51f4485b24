// SPDX-License-Identifier: Apache-2.0
/// Heads and channels that go for good.
package io.llmc.prune.width;
