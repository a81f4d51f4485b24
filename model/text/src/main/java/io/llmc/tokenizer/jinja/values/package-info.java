// SPDX-License-Identifier: Apache-2.0
/// Values of templates, and all that can be done to them: operators, attributes, filters, tests.
package io.llmc.tokenizer.jinja.values;
