// SPDX-License-Identifier: Apache-2.0
/// AWQ checkpoints as AutoAWQ spells them.
package io.llmc.formats.awq;
