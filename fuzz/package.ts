// Parts of the package that it does not export.
import { inDist, repositoryPath } from '../bench/packageFiles.js';

export { binding } from '../bench/packageFiles.js';
export { repositoryPath };

export const { readFloatTensor } = (await import(
  inDist('files/tensorFile.js')
)) as typeof import('../dist/files/tensorFile.js');
export const { openTower } = (await import(inDist('tower/families.js'))) as typeof import('../dist/tower/families.js');
export const { openProjector } = (await import(
  inDist('projector/registry.js')
)) as typeof import('../dist/projector/registry.js');
export const { fetchModel } = (await import(
  inDist('models/hub/reference.js')
)) as typeof import('../dist/models/hub/reference.js');

export const { ortLibrary } = (await import(
  inDist('compute/ortLibrary.js')
)) as typeof import('../dist/compute/ortLibrary.js');

export const fixture = (path: string): string => repositoryPath(`test/fixtures/${path}`);
