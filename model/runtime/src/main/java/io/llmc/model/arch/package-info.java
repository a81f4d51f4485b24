/// One file an architecture, and the list of them.
package io.llmc.model.arch;
