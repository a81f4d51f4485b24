/// Model directories on disk: opening, checking and writing them. Depends on the JDK and Jackson
/// only.
package io.llmc.formats;
