// SPDX-License-Identifier: Apache-2.0
package io.llmc.tokenizer.jinja;

import java.util.List;

/// What a value is assigned to.
sealed interface Target {
    record Name(String name) implements Target {}

    /// Of a namespace.
    record Attribute(String namespace, String name) implements Target {}

    /// Takes as many items apart.
    record Parts(List<Target> parts) implements Target {}
}
